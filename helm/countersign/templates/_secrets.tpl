{{/* The files that the configuration names: one list, from which both the volumes and their mounts are made. */}}
{{- define "countersign.files" -}}
{{- $files := dict }}
{{- with include "countersign.tlsSecret" . }}{{ $_ := set $files "tls" (dict "existingSecret" .) }}{{ end }}
{{- if include "countersign.hasClientCa" . }}{{ $_ := set $files "client-ca" .Values.grpc.tls.clientCa }}{{ end }}
{{- if .Values.sealing.existingSecret }}{{ $_ := set $files "sealing" .Values.sealing }}{{ end }}
{{- if eq .Values.store.kind "redis" }}
{{- with .Values.store.redis }}
{{- if .password.existingSecret }}{{ $_ := set $files "redis" .password }}{{ end }}
{{- if .sentinelPassword.existingSecret }}{{ $_ := set $files "sentinel" .sentinelPassword }}{{ end }}
{{- if or .ca.existingSecret .ca.existingConfigMap }}{{ $_ := set $files "redis-ca" .ca }}{{ end }}
{{- end }}
{{- end }}
{{- if and .Values.web.enabled .Values.web.clientSecret.existingSecret }}{{ $_ := set $files "web" .Values.web.clientSecret }}{{ end }}
{{- range .Values.secretMounts }}{{ $_ := set $files .name . }}{{ end }}
{{- toYaml $files }}
{{- end }}

{{/* Whole directories, never subPath: what is renewed is seen by the server. */}}
{{- define "countersign.secretMounts" -}}
{{- range $name, $_ := include "countersign.files" . | fromYaml }}
- name: file-{{ $name }}
  mountPath: /run/secrets/countersign/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "countersign.secretVolumes" -}}
{{- range $name, $source := include "countersign.files" . | fromYaml }}
- name: file-{{ $name }}
  {{- include "countersign.caSource" $source | nindent 2 }}
{{- end }}
{{- end }}
