package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	autoscalingv1ac "k8s.io/client-go/applyconfigurations/autoscaling/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Apply shares an object between managers.
func apply(ctx context.Context, world world) error {
	client := kubernetes.NewForConfigOrDie(world.config)
	deployments := client.AppsV1().Deployments(world.namespace)
	ours, theirs := metav1.ApplyOptions{FieldManager: "ours"}, metav1.ApplyOptions{FieldManager: "theirs"}
	wanted := appsv1ac.Deployment("applied", world.namespace).WithSpec(appsv1ac.DeploymentSpec().
		WithReplicas(0).
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{"app": "applied"})).
		WithTemplate(corev1ac.PodTemplateSpec().
			WithLabels(map[string]string{"app": "applied"}).
			WithSpec(corev1ac.PodSpec().WithContainers(
				corev1ac.Container().WithName("hello").WithImage("coracle.dev/hello:1").WithPorts(corev1ac.ContainerPort().WithContainerPort(8080)),
				corev1ac.Container().WithName("side").WithImage("coracle.dev/hello:1")))))
	first, err := deployments.Apply(ctx, wanted, ours)
	if err != nil {
		return err
	}
	again, err := deployments.Apply(ctx, wanted, ours)
	if err != nil || !equality.Semantic.DeepEqual(again.Spec, first.Spec) {
		return fmt.Errorf("applied again: %v, %v", again, err)
	}
	image := func(image string) *appsv1ac.DeploymentApplyConfiguration {
		return appsv1ac.Deployment("applied", world.namespace).WithSpec(appsv1ac.DeploymentSpec().WithTemplate(corev1ac.PodTemplateSpec().
			WithSpec(corev1ac.PodSpec().WithContainers(corev1ac.Container().WithName("hello").WithImage(image)))))
	}
	if _, err = deployments.Apply(ctx, image("coracle.dev/hello:2"), theirs); !apierrors.IsConflict(err) {
		return fmt.Errorf("two managers want different images: %v", err)
	}
	theirs.Force = true
	forced, err := deployments.Apply(ctx, image("coracle.dev/hello:2"), theirs)
	if err != nil || forced.Spec.Template.Spec.Containers[0].Image != "coracle.dev/hello:2" {
		return fmt.Errorf("forced: %v, %v", forced, err)
	}
	own, err := appsv1ac.ExtractDeployment(forced, "theirs")
	if err != nil || len(own.Spec.Template.Spec.Containers) != 1 || own.Spec.Replicas != nil {
		return fmt.Errorf("extracted: %v, %v", own, err)
	}
	// What a manager does not name any longer is its own no longer, and goes where nobody else has it.
	shorter := appsv1ac.Deployment("applied", world.namespace).WithSpec(appsv1ac.DeploymentSpec().
		WithSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{"app": "applied"})).
		WithTemplate(corev1ac.PodTemplateSpec().
			WithLabels(map[string]string{"app": "applied"}).
			WithSpec(corev1ac.PodSpec().WithContainers(corev1ac.Container().WithName("hello")))))
	left, err := deployments.Apply(ctx, shorter, ours)
	if err != nil || len(left.Spec.Template.Spec.Containers) != 1 || left.Spec.Template.Spec.Containers[0].Ports != nil {
		return fmt.Errorf("after taking away: %v, %v", left, err)
	}
	scaled, err := deployments.ApplyScale(ctx, "applied", autoscalingv1ac.Scale().WithSpec(autoscalingv1ac.ScaleSpec().WithReplicas(0)), metav1.ApplyOptions{FieldManager: "scaler", Force: true})
	if err != nil || scaled.Spec.Replicas != 0 {
		return fmt.Errorf("scaled: %v, %v", scaled, err)
	}
	status := appsv1ac.Deployment("applied", world.namespace).WithStatus(appsv1ac.DeploymentStatus().WithConditions(
		appsv1ac.DeploymentCondition().WithType("Told").WithStatus("True").WithReason("Applied").WithMessage("by status")))
	told, err := deployments.ApplyStatus(ctx, status, metav1.ApplyOptions{FieldManager: "teller", Force: true})
	if err != nil {
		return err
	}
	subresources := map[string]string{}
	for _, entry := range told.ManagedFields {
		subresources[entry.Manager] = entry.Subresource
	}
	if subresources["scaler"] != "scale" || subresources["teller"] != "status" || subresources["theirs"] != "" {
		return fmt.Errorf("managed by: %v", subresources)
	}
	return deployments.Delete(ctx, "applied", metav1.DeleteOptions{})
}
