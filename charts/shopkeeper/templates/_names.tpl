{{/*
Names are fixed, not made from the release's: there is one operator per cluster, and its user's name is part of the admission
policies.
*/}}
{{- define "shopkeeper.name" -}}
shopkeeper
{{- end }}

{{- define "shopkeeper.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "shopkeeper.name" . }}
{{- end }}

{{- define "shopkeeper.selector" -}}
app.kubernetes.io/name: {{ include "shopkeeper.name" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "shopkeeper.labels" -}}
{{ include "shopkeeper.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* repository:tag of .image; .root is the chart's context. */}}
{{- define "shopkeeper.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
