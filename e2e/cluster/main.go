// Command k8s is every Kubernetes component of the test cluster in one binary: one link step instead of seven, and
// one version of every shared library. The first argument names the component, the rest are its own flags.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: k8s COMPONENT [flags]")
	}
	component, args := os.Args[1], os.Args[2:]
	switch component {
	case "etcd":
		// etcd reads its flags from what follows the program's name.
		etcdmain.Main(os.Args[1:])
	case "kubectl":
		// kubectl looks for plugins by os.Args, so it must find itself at their start.
		os.Args = os.Args[1:]
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	case "forward":
		if err := forward(args); err != nil {
			fail("forward: %v", err)
		}
	case "grpc-interop":
		if err := grpcInterop(args); err != nil {
			fail("grpc-interop: %v", err)
		}
	default:
		command := server(component)
		if command == nil {
			fail("unknown component %q", component)
		}
		command.SetArgs(args)
		os.Exit(cli.Run(command))
	}
}

func server(component string) *cobra.Command {
	switch component {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kube-proxy":
		return proxy.NewProxyCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	default:
		return nil
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(2)
}
