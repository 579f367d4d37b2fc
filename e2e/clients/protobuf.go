package main

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// Protobuf writes in one encoding and reads in the other, and finds the same.
func protobuf(ctx context.Context, world world) error {
	binary, text := kubernetes.NewForConfigOrDie(world.protobuf()), kubernetes.NewForConfigOrDie(world.config)
	namespace := world.namespace
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "binary-" + name, Annotations: map[string]string{"note": "ü ✓"}}
	}
	created := metav1.CreateOptions{}
	deployment, err := binary.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: meta("web"),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "In", Values: []string{"binary"}}}},
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromString("30%")), MaxUnavailable: ptr.To(intstr.FromInt32(1))}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "binary"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "hello", Image: "coracle.dev/hello:1",
					Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("64Mi"), "cpu": resource.MustParse("1500m")}},
				}}},
			},
		},
	}, created)
	if err != nil {
		return err
	}
	secret, err := binary.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: meta("secret"), Data: map[string][]byte{"raw": {0, 255, 7}}}, created)
	if err != nil {
		return err
	}
	ingress, err := binary.NetworkingV1().Ingresses(namespace).Create(ctx, &networkingv1.Ingress{
		ObjectMeta: meta("site"),
		Spec:       networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}},
	}, created)
	if err != nil {
		return err
	}
	scaler, err := binary.AutoscalingV2().HorizontalPodAutoscalers(namespace).Create(ctx, &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: meta("scaler"),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "none"},
			MaxReplicas:    3,
			Metrics:        []autoscalingv2.MetricSpec{{Type: "Resource", Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu", Target: autoscalingv2.MetricTarget{Type: "Utilization", AverageUtilization: ptr.To[int32](60)}}}},
		},
	}, created)
	if err != nil {
		return err
	}
	get := metav1.GetOptions{}
	readDeployment, err1 := text.AppsV1().Deployments(namespace).Get(ctx, deployment.Name, get)
	readSecret, err2 := text.CoreV1().Secrets(namespace).Get(ctx, secret.Name, get)
	readIngress, err3 := text.NetworkingV1().Ingresses(namespace).Get(ctx, ingress.Name, get)
	readScaler, err4 := text.AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(ctx, scaler.Name, get)
	older, err5 := binary.AutoscalingV1().HorizontalPodAutoscalers(namespace).Get(ctx, scaler.Name, get)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	if !equality.Semantic.DeepEqual(deployment.Spec, readDeployment.Spec) || !equality.Semantic.DeepEqual(secret, readSecret) ||
		!equality.Semantic.DeepEqual(ingress, readIngress) || !equality.Semantic.DeepEqual(scaler.Spec, readScaler.Spec) {
		return fmt.Errorf("read otherwise than written: %v\n%v", deployment.Spec, readDeployment.Spec)
	}
	if want := (autoscalingv1.HorizontalPodAutoscalerSpec{
		ScaleTargetRef:                 autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "none"},
		MinReplicas:                    ptr.To[int32](1),
		MaxReplicas:                    3,
		TargetCPUUtilizationPercentage: ptr.To[int32](60),
	}); !equality.Semantic.DeepEqual(older.Spec, want) {
		return fmt.Errorf("in the older version: %v", older.Spec)
	}
	secret.Data["raw"] = []byte{1}
	if secret, err = binary.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		return err
	}
	secret.ResourceVersion = "1"
	if _, err = binary.CoreV1().Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		return fmt.Errorf("an update of what was: %v", err)
	}
	patched, err := binary.CoreV1().Secrets(namespace).Patch(ctx, secret.Name, types.StrategicMergePatchType, []byte(`{"stringData":{"more":"words"}}`), metav1.PatchOptions{})
	if err != nil || string(patched.Data["more"]) != "words" || len(patched.Data["raw"]) != 1 {
		return fmt.Errorf("patched: %v, %v", patched, err)
	}
	listed, err := binary.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + secret.Name})
	if err != nil || len(listed.Items) != 1 || !equality.Semantic.DeepEqual(listed.Items[0], *patched) {
		return fmt.Errorf("listed: %v, %v", listed, err)
	}
	// An error is a Status in protobuf too, with all of its causes.
	_, err = binary.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "UP"}, Data: map[string]string{"a b": ""}}, created)
	var status *apierrors.StatusError
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) || len(status.Status().Details.Causes) != 2 {
		return fmt.Errorf("refused: %v", err)
	}
	return nil
}
