package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/record"
)

// Leaders lets two candidates stand: one leads, and the other when that one goes.
func leaders(ctx context.Context, world world) error {
	client := kubernetes.NewForConfigOrDie(world.config)
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(world.namespace)})
	started := make(chan string, 2)
	stand := func(ctx context.Context, name string) (*leaderelection.LeaderElector, chan struct{}, error) {
		recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: name})
		lock, err := resourcelock.New(resourcelock.LeasesResourceLock, world.namespace, "throne", client.CoreV1(), client.CoordinationV1(),
			resourcelock.ResourceLockConfig{Identity: name, EventRecorder: recorder})
		if err != nil {
			return nil, nil, err
		}
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, Name: name, ReleaseOnCancel: true,
			LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 200 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { started <- name },
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return nil, nil, err
		}
		ended := make(chan struct{})
		go func() { defer close(ended); elector.Run(ctx) }()
		return elector, ended, nil
	}
	firstCtx, resign := context.WithCancel(ctx)
	defer resign()
	first, firstEnded, err := stand(firstCtx, "first")
	if err != nil {
		return err
	}
	if err := leads(ctx, started, "first"); err != nil {
		return err
	}
	secondCtx, end := context.WithCancel(ctx)
	second, secondEnded, err := stand(secondCtx, "second")
	if err != nil {
		end()
		return err
	}
	defer func() { end(); <-secondEnded }()
	if err := await(ctx, "the second knows whom it follows", func() (bool, error) {
		return second.GetLeader() == "first" && first.IsLeader() && !second.IsLeader(), nil
	}); err != nil {
		return err
	}
	resign()
	<-firstEnded
	if err := leads(ctx, started, "second"); err != nil {
		return err
	}
	lease, err := client.CoordinationV1().Leases(world.namespace).Get(ctx, "throne", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if *lease.Spec.HolderIdentity != "second" || *lease.Spec.LeaseTransitions < 1 {
		return fmt.Errorf("the lease says %v", lease.Spec)
	}
	return await(ctx, "events of both", func() (bool, error) {
		events, err := client.CoreV1().Events(world.namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=throne,reason=LeaderElection"})
		return err == nil && len(events.Items) >= 2, err
	})
}

func leads(ctx context.Context, started chan string, want string) error {
	select {
	case name := <-started:
		if name != want {
			return fmt.Errorf("%s leads, not %s", name, want)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nobody leads, where %s should: %w", want, ctx.Err())
	}
}
