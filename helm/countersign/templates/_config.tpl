{{/*
The server's configuration: what the chart knows, and `config` beside it. values.schema.json sees to it that the two have no key
in common.
*/}}
{{- define "countersign.toml" -}}
{{- $any := ternary "[::]" "0.0.0.0" .Values.grpc.ipv6 }}
{{- $secrets := "/run/secrets/countersign" }}
{{- $grpc := dict "listen" (printf "%s:%v" $any .Values.grpc.port) }}
{{- if include "countersign.tlsSecret" . }}
{{- $tls := dict "certificate" (printf "%s/tls/tls.crt" $secrets) "key" (printf "%s/tls/tls.key" $secrets) }}
{{- with .Values.grpc.tls }}
{{- if include "countersign.hasClientCa" $ }}
{{- $_ := set $tls "client_ca" (printf "%s/client-ca/%s" $secrets .clientCa.key) }}
{{- $_ := set $tls "client_auth" .clientAuth }}
{{- end }}
{{- end }}
{{- $_ := set $grpc "tls" $tls }}
{{- else }}
{{- $_ := set $grpc "allow_plaintext" .Values.grpc.allowPlaintext }}
{{- end }}
{{- $own := dict
  "grpc" $grpc
  "identity" (dict "issuers" .Values.identity.issuers)
  "policy" (dict "dir" "/policies")
  "journal" (dict "dir" "/var/lib/countersign/journal")
}}
{{- if .Values.sealing.existingSecret }}
{{- $keys := list }}
{{- range .Values.sealing.keys }}
{{- $keys = append $keys (dict "id" . "from" (printf "file:%s/sealing/%s" $secrets .)) }}
{{- end }}
{{- $_ := set $own.journal "sealing_keys" $keys }}
{{- else if not (or (dig "journal" "sealing" "" .Values.config) (dig "journal" "sealing_keys" "" .Values.config)) }}
{{- $_ := set $own.journal "sealing" "kept" }}
{{- end }}
{{- if eq .Values.store.kind "redis" }}
{{- $redis := dict "urls" .Values.store.redis.urls "durability" .Values.store.redis.durability }}
{{- with .Values.store.redis }}
{{- range $key, $value := dict "master" .master "username" .username "sentinel_username" .sentinelUsername "prefix" .prefix }}
{{- if $value }}{{ $_ := set $redis $key $value }}{{ end }}
{{- end }}
{{- if .cluster }}{{ $_ := set $redis "cluster" true }}{{ end }}
{{- if eq .durability "replicated" }}{{ $_ := set $redis "replicas" .replicas }}{{ end }}
{{- if .password.existingSecret }}{{ $_ := set $redis "password_file" (printf "%s/redis/%s" $secrets .password.key) }}{{ end }}
{{- if .sentinelPassword.existingSecret }}
{{- $_ := set $redis "sentinel_password_file" (printf "%s/sentinel/%s" $secrets .sentinelPassword.key) }}
{{- end }}
{{- if or .ca.existingSecret .ca.existingConfigMap }}{{ $_ := set $redis "ca_file" (printf "%s/redis-ca/%s" $secrets .ca.key) }}{{ end }}
{{- end }}
{{- $_ := set $own "store" (dict "kind" "redis" "redis" $redis) }}
{{- end }}
{{- if .Values.web.enabled }}
{{- $web := dict "listen" (printf "%s:%v" $any .Values.web.port) }}
{{- with .Values.web }}
{{- $_ := set $web "public_url" .publicUrl }}
{{- $_ := set $web "client_id" .clientId }}
{{- $_ := set $web "allow_plaintext" .allowPlaintext }}
{{- if .issuer }}{{ $_ := set $web "issuer" .issuer }}{{ end }}
{{- if .clientSecret.existingSecret }}
{{- $_ := set $web "client_secret_file" (printf "%s/web/%s" $secrets .clientSecret.key) }}
{{- end }}
{{- end }}
{{- $_ := set $own "web" $web }}
{{- end }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $own "telemetry" (dict "metrics" (printf "%s:%v" $any .Values.metrics.port)) }}
{{- end }}
{{- $all := mergeOverwrite (deepCopy .Values.config) (deepCopy $own) }}
{{- include "countersign.integers" $all }}
{{- toToml $all }}
{{- end }}

{{/* Whole numbers of YAML are floats to Helm, and `20.0` is no number of anything to the server. Changes the dict that it is given. */}}
{{- define "countersign.integers" -}}
{{- $dict := . }}
{{- range $key, $value := $dict }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{- $_ := set $dict $key (int64 $value) }}
{{- else if kindIs "map" $value }}
{{- include "countersign.integers" $value }}
{{- else if kindIs "slice" $value }}
{{- $items := list }}
{{- range $value }}
{{- $item := dict "it" . }}
{{- include "countersign.integers" $item }}
{{- $items = append $items $item.it }}
{{- end }}
{{- $_ := set $dict $key $items }}
{{- end }}
{{- end }}
{{- end }}
