package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const finalizer = "example.test/farewell"

// Greeting is a custom resource with a type of its own.
type Greeting struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              GreetingSpec   `json:"spec,omitempty"`
	Status            GreetingStatus `json:"status,omitempty"`
}

// GreetingSpec is what is wanted.
type GreetingSpec struct {
	Words string `json:"words,omitempty"`
}

// GreetingStatus is what there is.
type GreetingStatus struct {
	Said       string             `json:"said,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// DeepCopyObject is what every object can do.
func (g *Greeting) DeepCopyObject() runtime.Object {
	copied := *g
	copied.ObjectMeta = *g.ObjectMeta.DeepCopy()
	copied.Status.Conditions = append([]metav1.Condition(nil), g.Status.Conditions...)
	return &copied
}

// GreetingList is many of them.
type GreetingList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Greeting `json:"items"`
}

// DeepCopyObject is what every object can do.
func (l *GreetingList) DeepCopyObject() runtime.Object {
	copied := *l
	copied.Items = nil
	for i := range l.Items {
		copied.Items = append(copied.Items, *l.Items[i].DeepCopyObject().(*Greeting))
	}
	return &copied
}

// Reconciler says every greeting in a ConfigMap that it owns, and farewell when it goes.
type reconciler struct{ client.Client }

func (r reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	greeting := &Greeting{}
	if err := r.Get(ctx, request.NamespacedName, greeting); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !greeting.DeletionTimestamp.IsZero() {
		farewell := corev1ac.ConfigMap(greeting.Name+"-farewell", greeting.Namespace).WithData(map[string]string{"said": "farewell"})
		if err := r.Apply(ctx, farewell, client.FieldOwner("greeter"), client.ForceOwnership); err != nil {
			return ctrl.Result{}, err
		}
		if controllerutil.RemoveFinalizer(greeting, finalizer) {
			return ctrl.Result{}, r.Update(ctx, greeting)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(greeting, finalizer) {
		return ctrl.Result{}, r.Update(ctx, greeting)
	}
	saying := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: greeting.Name, Namespace: greeting.Namespace}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, saying, func() error {
		saying.Data = map[string]string{"words": greeting.Spec.Words}
		return controllerutil.SetControllerReference(greeting, saying, r.Scheme())
	}); err != nil {
		return ctrl.Result{}, err
	}
	before := greeting.DeepCopyObject().(*Greeting)
	greeting.Status.Said = greeting.Spec.Words
	meta.SetStatusCondition(&greeting.Status.Conditions, metav1.Condition{Type: "Said", Status: "True", Reason: "Done", ObservedGeneration: greeting.Generation})
	return ctrl.Result{}, r.Status().Patch(ctx, greeting, client.MergeFrom(before))
}

// Controller runs a manager with a leader's lease, caches and a reconciler, and sees greetings through their lives.
func controller(ctx context.Context, world world) (err error) {
	definition, err := define(ctx, world.config, world.group(), "Greeting", "greetings")
	if err != nil {
		return err
	}
	defer func() {
		if gone := undefine(world.config, definition.Name); err == nil {
			err = gone
		}
	}()
	scheme := runtime.NewScheme()
	version := schema.GroupVersion{Group: world.group(), Version: "v1"}
	if err := clientscheme.AddToScheme(scheme); err != nil {
		return err
	}
	scheme.AddKnownTypes(version, &Greeting{}, &GreetingList{})
	metav1.AddToGroupVersion(scheme, version)
	manager, err := ctrl.NewManager(world.config, ctrl.Options{
		Scheme: scheme, LeaderElection: true, LeaderElectionID: "greeter", LeaderElectionNamespace: world.namespace, LeaderElectionReleaseOnCancel: true,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{world.namespace: {}}},
	})
	if err != nil {
		return err
	}
	if err := manager.GetFieldIndexer().IndexField(ctx, &Greeting{}, "spec.words", func(object client.Object) []string {
		return []string{object.(*Greeting).Spec.Words}
	}); err != nil {
		return err
	}
	if err := ctrl.NewControllerManagedBy(manager).For(&Greeting{}).Owns(&corev1.ConfigMap{}).Complete(reconciler{manager.GetClient()}); err != nil {
		return err
	}
	managed, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(managed) }()
	defer func() {
		end()
		select {
		case stopped := <-ended:
			if err == nil {
				err = stopped
			}
		case <-time.After(deadline):
			err = fmt.Errorf("the manager does not end")
		}
	}()
	return greetings(ctx, world, manager)
}

func greetings(ctx context.Context, world world, manager ctrl.Manager) error {
	direct, err := client.New(world.config, client.Options{Scheme: manager.GetScheme()})
	if err != nil {
		return err
	}
	greeting := &Greeting{ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: world.namespace}, Spec: GreetingSpec{Words: "good morning"}}
	if err := direct.Create(ctx, greeting); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(greeting)
	said := func(words string) error {
		return await(ctx, words, func() (bool, error) {
			saying := &corev1.ConfigMap{}
			if err := direct.Get(ctx, key, saying); client.IgnoreNotFound(err) != nil {
				return false, err
			}
			if err := direct.Get(ctx, key, greeting); err != nil {
				return false, err
			}
			return saying.Data["words"] == words && greeting.Status.Said == words && meta.IsStatusConditionTrue(greeting.Status.Conditions, "Said"), nil
		})
	}
	if err := said("good morning"); err != nil {
		return err
	}
	changed := greeting.DeepCopyObject().(*Greeting)
	changed.Spec.Words = "good evening"
	if err := direct.Patch(ctx, changed, client.MergeFromWithOptions(greeting, client.MergeFromWithOptimisticLock{})); err != nil {
		return err
	}
	if err := said("good evening"); err != nil {
		return err
	}
	// What is owned comes back.
	if err := direct.Delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: world.namespace}}); err != nil {
		return err
	}
	if err := said("good evening"); err != nil {
		return err
	}
	if err := await(ctx, "by index, from the cache", func() (bool, error) {
		found := &GreetingList{}
		err := manager.GetClient().List(ctx, found, client.MatchingFields{"spec.words": "good evening"}, client.InNamespace(world.namespace))
		return err == nil && len(found.Items) == 1, err
	}); err != nil {
		return err
	}
	if err := direct.Delete(ctx, greeting, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		return err
	}
	return await(ctx, "farewell, and all is gone", func() (bool, error) {
		farewell := &corev1.ConfigMap{}
		if err := direct.Get(ctx, client.ObjectKey{Namespace: world.namespace, Name: "hello-farewell"}, farewell); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		owner, owned := direct.Get(ctx, key, greeting), direct.Get(ctx, key, &corev1.ConfigMap{})
		return apierrors.IsNotFound(owner) && apierrors.IsNotFound(owned) && farewell.Data["said"] == "farewell", nil
	})
}
