{{- define "site.serviceAccount" -}}
{{- printf "%s-server" (include "common.fullname" .) -}}
{{- end -}}

{{- /* The secret's word stays what it is across upgrades: it is looked up before a new one is made. */ -}}
{{- define "site.word" -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "common.fullname" .) -}}
{{- if $secret -}}
{{- index $secret.data "word" -}}
{{- else -}}
{{- randAlphaNum 24 | b64enc -}}
{{- end -}}
{{- end -}}
