{{- /* A container that serves the page: of the chart's image, with probes, limits and a tight security context. */ -}}
{{- define "common.container" -}}
name: {{ include "common.name" . }}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve]
ports:
  - name: http
    containerPort: 8080
    protocol: TCP
livenessProbe:
  httpGet: {path: /healthz, port: http}
readinessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 1
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 1000
  capabilities: {drop: [ALL]}
{{- end -}}
