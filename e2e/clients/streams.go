package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/utils/ptr"
)

// Streams reaches into a container: commands by both protocols, logs as they come, a port.
func streams(ctx context.Context, world world) error {
	client := kubernetes.NewForConfigOrDie(world.config)
	pods := client.CoreV1().Pods(world.namespace)
	if _, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "streams"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			Containers:                    []corev1.Container{{Name: "hello", Image: "coracle.dev/hello:1", Args: []string{"serve"}}},
		},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := await(ctx, "the pod runs", func() (bool, error) {
		pod, err := pods.Get(ctx, "streams", metav1.GetOptions{})
		return err == nil && pod.Status.Phase == corev1.PodRunning, err
	}); err != nil {
		return err
	}
	request := func(subresource string) *rest.Request {
		return client.CoreV1().RESTClient().Post().Resource("pods").Namespace(world.namespace).Name("streams").SubResource(subresource)
	}
	for _, protocol := range []string{"websocket", "spdy"} {
		if err := execute(ctx, world, request, protocol); err != nil {
			return fmt.Errorf("exec by %s: %w", protocol, err)
		}
	}
	logs, err := pods.GetLogs("streams", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer logs.Close()
	lines := bufio.NewScanner(logs)
	if !lines.Scan() || !strings.Contains(lines.Text(), "listens on") {
		return fmt.Errorf("its log: %q, %v", lines.Text(), lines.Err())
	}
	if err := forward(world, request); err != nil {
		return fmt.Errorf("port-forward: %w", err)
	}
	if !lines.Scan() || !strings.Contains(lines.Text(), "/forwarded") {
		return fmt.Errorf("its log goes on: %q, %v", lines.Text(), lines.Err())
	}
	return pods.Delete(ctx, "streams", metav1.DeleteOptions{})
}

func execute(ctx context.Context, world world, request func(string) *rest.Request, protocol string) error {
	url := request("exec").VersionedParams(&corev1.PodExecOptions{Command: []string{"hello", "cat"}, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	var executor remotecommand.Executor
	var err error
	if protocol == "spdy" {
		executor, err = remotecommand.NewSPDYExecutor(world.config, http.MethodPost, url)
	} else {
		executor, err = remotecommand.NewWebSocketExecutor(world.config, http.MethodGet, url.String())
	}
	if err != nil {
		return err
	}
	var out, complaints bytes.Buffer
	words := strings.Repeat("there and back\n", 5000)
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(words), Stdout: &out, Stderr: &complaints}); err != nil {
		return err
	}
	if out.String() != words || complaints.Len() != 0 {
		return fmt.Errorf("%d of %d bytes, %q", out.Len(), len(words), complaints.String())
	}
	return nil
}

func forward(world world, request func(string) *rest.Request) error {
	transport, upgrader, err := spdy.RoundTripperFor(world.config)
	if err != nil {
		return err
	}
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, request("portforward").URL())
	stop, ready, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	forwarder, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		return fmt.Errorf("never ready: %w", err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	http := http.Client{Timeout: 30 * time.Second}
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/forwarded", ports[0].Local))
	if err != nil {
		return err
	}
	answer.Body.Close()
	close(stop)
	return <-ended
}
