package main

import (
	"context"
	"fmt"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	clientinformers "k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Informers keeps what is stored at hand, in JSON and in protobuf, and hears of every change.
func informers(ctx context.Context, world world) error {
	for _, config := range []struct {
		name string
		*kubernetes.Clientset
	}{
		{"json", kubernetes.NewForConfigOrDie(world.config)},
		{"protobuf", kubernetes.NewForConfigOrDie(world.protobuf())},
	} {
		if err := informed(ctx, world.namespace, config.name, config.Clientset); err != nil {
			return fmt.Errorf("by %s: %w", config.name, err)
		}
	}
	return nil
}

func informed(ctx context.Context, namespace, form string, client kubernetes.Interface) error {
	ctx, stop := context.WithCancel(ctx)
	set := "informed-" + form
	maps := client.CoreV1().ConfigMaps(namespace)
	make := func(i int) error {
		_, err := maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", set, i), Labels: map[string]string{"set": set}},
			Data:       map[string]string{"parity": fmt.Sprint(i % 2)},
		}, metav1.CreateOptions{})
		return err
	}
	for i := range 10 {
		if err := make(i); err != nil {
			stop()
			return err
		}
	}
	factory := clientinformers.NewSharedInformerFactoryWithOptions(client, 0,
		clientinformers.WithNamespace(namespace),
		clientinformers.WithTweakListOptions(func(options *metav1.ListOptions) { options.LabelSelector = "set=" + set }))
	defer factory.Shutdown()
	defer stop()
	shared := factory.Core().V1().ConfigMaps()
	var added, updated, deleted atomic.Int64
	if err := shared.Informer().AddIndexers(cache.Indexers{"parity": func(object any) ([]string, error) {
		return []string{object.(*corev1.ConfigMap).Data["parity"]}, nil
	}}); err != nil {
		return err
	}
	registration, err := shared.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { added.Add(1) },
		UpdateFunc: func(_, _ any) { updated.Add(1) },
		DeleteFunc: func(any) { deleted.Add(1) },
	})
	if err != nil {
		return err
	}
	// The same factory keeps another kind, which has no such label: an empty store is in sync too.
	pods := factory.Core().V1().Pods().Informer()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced, pods.HasSynced) {
		return fmt.Errorf("never in sync")
	}
	for i := 10; i < 20; i++ {
		if err := make(i); err != nil {
			return err
		}
	}
	if err := await(ctx, "20 additions", func() (bool, error) { return added.Load() == 20, nil }); err != nil {
		return err
	}
	odd, err := shared.Informer().GetIndexer().ByIndex("parity", "1")
	if err != nil || len(odd) != 10 {
		return fmt.Errorf("by index: %d, %v", len(odd), err)
	}
	one, err := shared.Lister().ConfigMaps(namespace).Get(set + "-3")
	if err != nil {
		return err
	}
	changed := one.DeepCopy()
	changed.Data["parity"] = "none"
	if _, err := maps.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := maps.Delete(ctx, set+"-4", metav1.DeleteOptions{}); err != nil {
		return err
	}
	// What does not fit the selector any longer is deleted to whoever selects.
	unlabelled, err := shared.Lister().ConfigMaps(namespace).Get(set + "-5")
	if err != nil {
		return err
	}
	unlabelled = unlabelled.DeepCopy()
	unlabelled.Labels = nil
	if _, err := maps.Update(ctx, unlabelled, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := await(ctx, "an update and two deletions", func() (bool, error) {
		return updated.Load() >= 1 && deleted.Load() == 2, nil
	}); err != nil {
		return err
	}
	listed, err := shared.Lister().List(labels.Everything())
	if err != nil {
		return err
	}
	names := sets.New[string]()
	for _, each := range listed {
		names.Insert(each.Name)
	}
	if len(names) != 18 || names.HasAny(set+"-4", set+"-5") {
		return fmt.Errorf("kept: %v", sets.List(names))
	}
	return maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "set=" + set})
}
