// Command kube is every Kubernetes component of the devcluster in one binary.
//
// One binary, because the components share nearly all of their packages: together they link to about 150 MB and
// compile once, apart they would take five times both. The component is chosen by the name the binary is called by
// (a symbolic link kubelet -> kube runs the kubelet), as busybox does it.
//
// Nothing of our own belongs in here: each component is the published one, started by its published constructor, so
// that what holds on the devcluster holds on any Kubernetes of the same version.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func cobraMain(command *cobra.Command) func() {
	return func() { os.Exit(cli.Run(command)) }
}

// The constructors run only for the component that was asked for: several of them register global flags.
var components = map[string]func(){
	"coredns":                 coremain.Run,
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { cobraMain(apiserver.NewAPIServerCommand())() },
	"kube-controller-manager": func() { cobraMain(controllermanager.NewControllerManagerCommand())() },
	"kube-proxy":              func() { cobraMain(proxy.NewProxyCommand())() },
	"kube-scheduler":          func() { cobraMain(scheduler.NewSchedulerCommand())() },
	"kubelet":                 func() { cobraMain(kubelet.NewKubeletCommand(context.Background()))() },
	"kubectl":                 runKubectl,
}

func runKubectl() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	run, known := components[filepath.Base(os.Args[0])]
	if !known {
		names := make([]string, 0, len(components))
		for name := range components {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "call this binary by the name of a component: %s\n", strings.Join(names, ", "))
		os.Exit(2)
	}
	run()
}
