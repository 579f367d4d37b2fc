// Clients is a program as users of Kubernetes' Go libraries write them: each chapter uses one of them for what it is there
// for, against the cluster that the kubeconfig names, in a namespace that is given, and fails unless it does it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// Chapter is one thing that is tried.
type chapter struct {
	name string
	try  func(ctx context.Context, world world) error
}

// World is where a chapter plays.
type world struct {
	config    *rest.Config
	namespace string
}

// Group is an API group of this run's own: definitions belong to the whole cluster.
func (w world) group() string { return w.namespace + ".example.test" }

// Protobuf is the same cluster by way of protobuf.
func (w world) protobuf() *rest.Config {
	config := rest.CopyConfig(w.config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return config
}

const deadline = 2 * time.Minute

// Await looks until there is what is waited for, or an error.
func await(ctx context.Context, what string, look func() (bool, error)) error {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, deadline, true, func(context.Context) (bool, error) { return look() })
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func main() {
	namespace := flag.String("namespace", "default", "where it all takes place")
	flag.Parse()
	klog.SetOutput(os.Stderr)
	ctrllog.SetLogger(klog.Background())
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	config.QPS = -1
	here := world{config: config, namespace: *namespace}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	chapters := []chapter{
		{"informers", informers},
		{"protobuf", protobuf},
		{"leaders", leaders},
		{"apply", apply},
		{"dynamic", dynamics},
		{"lists", lists},
		{"streams", streams},
		{"controller", controller},
	}
	var (
		wg     sync.WaitGroup
		mutex  sync.Mutex
		faults []string
	)
	for _, chapter := range chapters {
		wg.Go(func() {
			err := chapter.try(ctx, here)
			mutex.Lock()
			defer mutex.Unlock()
			if err != nil {
				faults = append(faults, fmt.Sprintf("%s: %v", chapter.name, err))
			} else {
				fmt.Println("done", chapter.name)
			}
		})
	}
	wg.Wait()
	if len(faults) > 0 {
		fmt.Fprintln(os.Stderr, strings.Join(faults, "\n"))
		os.Exit(1)
	}
}
