package main

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

// Define makes a definition and waits until it is served.
func define(ctx context.Context, config *rest.Config, group, kind, plural string) (*apiextensionsv1.CustomResourceDefinition, error) {
	definitions := apiextensions.NewForConfigOrDie(config).ApiextensionsV1().CustomResourceDefinitions()
	anything := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}
	definition, err := definitions.Create(ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + "." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: kind, Plural: plural},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{
					Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
					Scale:  &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"},
				},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type:       "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": anything, "status": anything},
				}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	err = await(ctx, "the definition is established", func() (bool, error) {
		read, err := definitions.Get(ctx, definition.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, condition := range read.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	return definition, err
}

func undefine(config *rest.Config, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return apiextensions.NewForConfigOrDie(config).ApiextensionsV1().CustomResourceDefinitions().Delete(ctx, name, metav1.DeleteOptions{})
}

// Dynamics handles objects of kinds that the program knows nothing of.
func dynamics(ctx context.Context, world world) (err error) {
	definition, err := define(ctx, world.config, world.group(), "Widget", "widgets")
	if err != nil {
		return err
	}
	defer func() {
		if gone := undefine(world.config, definition.Name); err == nil {
			err = gone
		}
	}()
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovery.NewDiscoveryClientForConfigOrDie(world.config)))
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: world.group(), Kind: "Widget"})
	if err != nil {
		return err
	}
	client := dynamic.NewForConfigOrDie(world.config)
	widgets := client.Resource(mapping.Resource).Namespace(world.namespace)

	ctx, stop := context.WithCancel(ctx)
	objects := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, world.namespace, nil)
	heads := metadatainformer.NewFilteredSharedInformerFactory(metadata.NewForConfigOrDie(world.config), 0, world.namespace, nil)
	defer objects.Shutdown()
	defer heads.Shutdown()
	defer stop()
	full, head := objects.ForResource(mapping.Resource), heads.ForResource(mapping.Resource)
	full.Informer()
	head.Informer()
	objects.Start(ctx.Done())
	heads.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), full.Informer().HasSynced, head.Informer().HasSynced) {
		return fmt.Errorf("never in sync")
	}
	widget := func(name string, replicas int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": world.group() + "/v1", "kind": "Widget",
			"metadata": map[string]any{"name": name, "labels": map[string]any{"of": "dynamic"}},
			"spec":     map[string]any{"replicas": replicas, "parts": []any{"a", "b"}},
		}}
	}
	one, err := widgets.Create(ctx, widget("one", 2), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedField(one.Object, int64(2), "status", "replicas"); err != nil {
		return err
	}
	if one, err = widgets.UpdateStatus(ctx, one, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if one.GetGeneration() != 1 {
		return fmt.Errorf("a status is no new generation: %v", one)
	}
	if _, err = widgets.Apply(ctx, "two", widget("two", 1), metav1.ApplyOptions{FieldManager: "clients"}); err != nil {
		return err
	}
	patched, err := widgets.Patch(ctx, "two", types.JSONPatchType, []byte(`[{"op":"add","path":"/spec/parts/-","value":"c"}]`), metav1.PatchOptions{})
	if err != nil {
		return err
	}
	if parts, _, err := unstructured.NestedStringSlice(patched.Object, "spec", "parts"); err != nil || len(parts) != 3 {
		return fmt.Errorf("patched: %v, %v", patched, err)
	}
	scaler, err := scale.NewForConfig(world.config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(discovery.NewDiscoveryClientForConfigOrDie(world.config)))
	if err != nil {
		return err
	}
	resource := mapping.Resource.GroupResource()
	read, err := scaler.Scales(world.namespace).Get(ctx, resource, "one", metav1.GetOptions{})
	if err != nil || read.Spec.Replicas != 2 || read.Status.Replicas != 2 {
		return fmt.Errorf("its scale: %v, %v", read, err)
	}
	read.Spec.Replicas = 5
	if _, err = scaler.Scales(world.namespace).Update(ctx, resource, read, metav1.UpdateOptions{}); err != nil {
		return err
	}
	if err := await(ctx, "the informers have it all", func() (bool, error) {
		seen, err := full.Lister().ByNamespace(world.namespace).Get("one")
		if err != nil {
			return false, nil
		}
		replicas, _, err := unstructured.NestedInt64(seen.(*unstructured.Unstructured).Object, "spec", "replicas")
		two, missing := head.Lister().ByNamespace(world.namespace).Get("two")
		return err == nil && replicas == 5 && missing == nil && two.(*metav1.PartialObjectMetadata).Labels["of"] == "dynamic", nil
	}); err != nil {
		return err
	}
	if err := widgets.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "of=dynamic"}); err != nil {
		return err
	}
	return await(ctx, "none is left", func() (bool, error) {
		left, err := widgets.List(ctx, metav1.ListOptions{})
		return err == nil && len(left.Items) == 0, err
	})
}
