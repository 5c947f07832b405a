{{- /* Names, labels and images. */ -}}

{{- define "modeldeploy.name" -}}
{{- printf "%s-operator" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "modeldeploy.serviceAccount" -}}
{{- default (include "modeldeploy.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "modeldeploy.selector" -}}
app.kubernetes.io/name: modeldeploy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "modeldeploy.labels" -}}
{{ include "modeldeploy.selector" . }}
app.kubernetes.io/part-of: modeldeploy
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "modeldeploy.tag" -}}
{{- default .Chart.AppVersion .Values.image.tag -}}
{{- end -}}

{{- /* An image beside the operator's: (list $ "modeldeploy-scoring") */ -}}
{{- define "modeldeploy.beside" -}}
{{- $root := index . 0 -}}
{{- $folder := dir $root.Values.image.repository -}}
{{- if ne $folder "." }}{{ $folder }}/{{ end }}{{ index . 1 }}:{{ include "modeldeploy.tag" $root }}
{{- end -}}

{{- /* What the schema cannot say, because it binds two values. */ -}}
{{- define "modeldeploy.refuse" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) -}}
{{- fail (printf "leaderElection.enabled must be true with replicas: %d, or the replicas would work against each other" (int .Values.replicas)) -}}
{{- end -}}
{{- if eq (int .Values.ports.health) (int .Values.ports.metrics) -}}
{{- fail (printf "ports.health and ports.metrics are both %d: give each a port of its own" (int .Values.ports.health)) -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.name is needed with serviceAccount.create: false: name the ServiceAccount that the operator runs as" -}}
{{- end -}}
{{- end -}}
