package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/util/retry"
)

// Lists reads page by page, watches on from there, and writes against others who write.
func lists(ctx context.Context, world world) error {
	client := kubernetes.NewForConfigOrDie(world.config)
	maps := client.CoreV1().ConfigMaps(world.namespace)
	const count = 23
	for i := range count {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "listed-", Labels: map[string]string{"set": "listed"}}, Data: map[string]string{"n": fmt.Sprint(i)}}
		if _, err := maps.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return maps.List(ctx, options)
	})
	pages.PageSize = 5
	seen := map[string]bool{}
	options := metav1.ListOptions{LabelSelector: "set=listed"}
	if err := pages.EachListItem(ctx, options, func(object runtime.Object) error {
		seen[object.(*corev1.ConfigMap).Name] = true
		return nil
	}); err != nil {
		return err
	}
	if len(seen) != count {
		return fmt.Errorf("%d of %d in pages", len(seen), count)
	}
	listed, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "set=listed", Limit: 1})
	if err != nil {
		return err
	}
	if listed.RemainingItemCount != nil || listed.Continue == "" {
		return fmt.Errorf("a page by label tells no count, but how to go on: %v", listed.ListMeta)
	}
	// A watch from the list on, which survives being cut off.
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, listed.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = "set=listed"
			seconds := int64(1)
			options.TimeoutSeconds = &seconds
			return maps.Watch(ctx, options)
		},
	})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	name := listed.Items[0].Name
	const writers = 5
	outcomes := make(chan error, writers)
	for range writers {
		go func() {
			outcomes <- retry.RetryOnConflict(retry.DefaultBackoff, func() error {
				object, err := maps.Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				object.Data["writes"] += "x"
				_, err = maps.Update(ctx, object, metav1.UpdateOptions{})
				return err
			})
		}()
	}
	done := 0
	for range writers {
		if err := <-outcomes; err == nil {
			done++
		} else if !apierrors.IsConflict(err) {
			return err
		}
	}
	for i := 1; i <= done; i++ {
		event, open := <-watcher.ResultChan()
		if !open {
			return fmt.Errorf("the watch ends")
		}
		object, right := event.Object.(*corev1.ConfigMap)
		if !right || event.Type != watch.Modified || len(object.Data["writes"]) != i {
			return fmt.Errorf("event %d: %v", i, event)
		}
	}
	// Whoever is not allowed is told so in a way that the library knows.
	config := rest.CopyConfig(world.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	if _, err := kubernetes.NewForConfigOrDie(config).CoreV1().Secrets(world.namespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		return fmt.Errorf("nobody lists secrets: %v", err)
	}
	if _, err := maps.Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("none is found: %v", err)
	}
	return maps.DeleteCollection(ctx, metav1.DeleteOptions{}, options)
}
