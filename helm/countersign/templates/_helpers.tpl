{{- define "countersign.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Names of pods, volumes and revisions are longer by up to 23: 40 keeps them below 63. */}}
{{- define "countersign.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "countersign.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "countersign.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "countersign.selector" -}}
app.kubernetes.io/name: {{ include "countersign.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "countersign.labels" -}}
{{ include "countersign.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of an object: (dict "root" $ "suffix" "-headless" "annotations" {}). */}}
{{- define "countersign.metadata" -}}
name: {{ include "countersign.fullname" .root }}{{ .suffix }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "countersign.labels" .root | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "countersign.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "countersign.pullPolicy" -}}
{{- with .Values.image }}{{ .pullPolicy | default (ternary "IfNotPresent" "Always" (ne .digest "")) }}{{ end }}
{{- end }}

{{/* Labels of the pod of `helm test`. */}}
{{- define "countersign.testSelector" -}}
app.kubernetes.io/name: {{ include "countersign.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "countersign.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "countersign.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* The Secret with the server's certificate; empty where the port is in clear. */}}
{{- define "countersign.tlsSecret" -}}
{{- with .Values.grpc.tls }}
{{- if .certManager.enabled }}{{ include "countersign.fullname" $ }}-tls{{ else }}{{ .existingSecret }}{{ end }}
{{- end }}
{{- end }}

{{- define "countersign.hasClientCa" -}}
{{- with .Values.grpc.tls.clientCa }}{{ if or .existingSecret .existingConfigMap }}true{{ end }}{{ end }}
{{- end }}

{{- define "countersign.policiesMap" -}}
{{- .Values.policies.existingConfigMap | default (printf "%s-policies" (include "countersign.fullname" .)) }}
{{- end }}

{{- define "countersign.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What to ask a part's health with: (dict "root" $ "part" "journal"). Kubelets speak no TLS. */}}
{{- define "countersign.probe" -}}
{{- if eq .root.Values.probes.type "tcp" -}}
tcpSocket:
  port: grpc
{{- else if include "countersign.tlsSecret" .root -}}
exec:
  command:
    - /usr/local/bin/countersign
    - healthcheck
    - --config=/etc/countersign/countersign.toml
    - --service={{ .part }}
{{- else -}}
grpc:
  port: {{ .root.Values.grpc.port }}
  service: {{ .part }}
{{- end }}
{{- end }}

{{/* A CA from a Secret or a ConfigMap, as a source of a volume. */}}
{{- define "countersign.caSource" -}}
{{- if .existingSecret -}}
secret:
  secretName: {{ .existingSecret }}
  defaultMode: 0440
{{- else -}}
configMap:
  name: {{ .existingConfigMap }}
{{- end }}
{{- end }}

{{/* What has no safe default. */}}
{{- define "countersign.check" -}}
{{- if not .Values.identity.issuers }}
{{- fail "identity.issuers is empty: name the OIDC issuer whose tokens are believed (docs/identity.md)" }}
{{- end }}
{{- if not (or (include "countersign.tlsSecret" .) .Values.grpc.allowPlaintext) }}
{{- fail "how do tokens travel? Give grpc.tls.existingSecret or grpc.tls.certManager, or say grpc.allowPlaintext=true where a mesh encrypts" }}
{{- end }}
{{- with .Values.policies }}
{{- if not (or .files .existingConfigMap .volume) }}
{{- fail "there are no policies: give policies.files, policies.existingConfigMap or policies.volume (docs/policies.md)" }}
{{- end }}
{{- end }}
{{- end }}
