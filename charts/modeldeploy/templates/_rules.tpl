{{- /*
What the operator may do where ModelDeployments are. tests/e2e compares these lines with the calls that it made, both
ways. "create" beside "patch": server-side apply of an object that is not there yet needs both.
*/ -}}
{{- define "modeldeploy.rules" -}}
- apiGroups: [modeldeploy.dev]
  resources: [modeldeployments]
  verbs: [list, watch]
- apiGroups: [modeldeploy.dev]
  resources: [modeldeployments/status]
  verbs: [patch]
- apiGroups: [modeldeploy.dev]
  resources: [modelversions]
  verbs: [create, get, list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, get, list, patch, watch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [create, get, list, patch, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, get, list, patch, watch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, delete, get, list, patch, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, list, patch, watch]
# They read the sources of models.
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, list, watch]
# Keys are made and read by name. Without list and watch nobody learns through the operator which Secrets there are.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, get]
{{- end -}}
