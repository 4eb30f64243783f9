{{/* At most 40 characters: names of StatefulSets and CronJobs may have 52, with the component behind. */}}
{{- define "openbsp.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What selects the pods of a component: (list $ "bridge"). */}}
{{- define "openbsp.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "openbsp.labels" -}}
{{- $root := index . 0 -}}
{{ include "openbsp.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: openbsp
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "openbsp.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A value as the text of a variable. Trap: numbers of values are floating point, and large ones would become 1.07e+09. */}}
{{- define "openbsp.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . | toString | quote -}}
{{- else -}}
{{- toString . | quote -}}
{{- end -}}
{{- end }}

{{/* The bytes of a quantity such as 4Gi, 1.5G or 805306368. */}}
{{- define "openbsp.bytes" -}}
{{- $units := dict "m" 1e-3 "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- $unit := regexFind "[A-Za-z]*$" (toString .) -}}
{{- mulf (toString . | trimSuffix $unit) (get $units $unit) | int64 -}}
{{- end }}

{{/* A variable from a Secret: (list "NAME" "secret" "key"). */}}
{{- define "openbsp.secret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 }}
      key: {{ index . 2 }}
{{- end }}

{{/* How to reach Kafka and the registry, and what the topics are: (list $ componentValues). */}}
{{- define "openbsp.servers" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
{{- with $root.Values.kafka -}}
- name: KAFKA_BOOTSTRAP_SERVERS
  value: {{ .bootstrapServers | quote }}
- name: KAFKA_SECURITY_PROTOCOL
  value: {{ .securityProtocol }}
- name: KAFKA_COMPRESSION
  value: {{ .compression | quote }}
{{- if .tls.caSecret }}
- name: KAFKA_SSL_CA_FILE
  value: {{ printf "/etc/openbsp/kafka-ca/%s" .tls.caKey }}
{{- end }}
{{- if .tls.clientSecret }}
- name: KAFKA_SSL_CERTIFICATE_FILE
  value: {{ printf "/etc/openbsp/kafka-client/%s" .tls.clientCertificateKey }}
- name: KAFKA_SSL_KEY_FILE
  value: {{ printf "/etc/openbsp/kafka-client/%s" .tls.clientKeyKey }}
{{- if .tls.clientPasswordKey }}
{{ include "openbsp.secret" (list "KAFKA_SSL_KEY_PASSWORD" .tls.clientSecret .tls.clientPasswordKey) }}
{{- end }}
{{- end }}
{{- if .sasl.mechanism }}
{{- $secret := default .sasl.existingSecret $own.kafkaSecret }}
- name: KAFKA_SASL_MECHANISM
  value: {{ .sasl.mechanism }}
{{- if eq .sasl.mechanism "OAUTHBEARER" }}
- name: KAFKA_SASL_OAUTH_TOKEN_URL
  value: {{ .sasl.oauth.tokenUrl | quote }}
{{- if .sasl.oauth.scope }}
- name: KAFKA_SASL_OAUTH_SCOPE
  value: {{ .sasl.oauth.scope | quote }}
{{- end }}
{{ include "openbsp.secret" (list "KAFKA_SASL_OAUTH_CLIENT_ID" $secret .sasl.oauth.clientIdKey) }}
{{ include "openbsp.secret" (list "KAFKA_SASL_OAUTH_CLIENT_SECRET" $secret .sasl.oauth.clientSecretKey) }}
{{- else }}
{{ include "openbsp.secret" (list "KAFKA_SASL_USERNAME" $secret .sasl.usernameKey) }}
{{ include "openbsp.secret" (list "KAFKA_SASL_PASSWORD" $secret .sasl.passwordKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- with $root.Values.schemaRegistry }}
- name: SCHEMA_REGISTRY_URL
  value: {{ .url | quote }}
- name: SCHEMA_REGISTRY_TIMEOUT_S
  value: {{ include "openbsp.text" .timeoutSeconds }}
{{- if .existingSecret }}
{{ include "openbsp.secret" (list "SCHEMA_REGISTRY_USERNAME" .existingSecret .usernameKey) }}
{{ include "openbsp.secret" (list "SCHEMA_REGISTRY_PASSWORD" .existingSecret .passwordKey) }}
{{- end }}
{{- if .tls.caSecret }}
- name: SCHEMA_REGISTRY_SSL_CA_FILE
  value: {{ printf "/etc/openbsp/registry-ca/%s" .tls.caKey }}
{{- end }}
{{- if .tls.clientSecret }}
- name: SCHEMA_REGISTRY_SSL_CERTIFICATE_FILE
  value: {{ printf "/etc/openbsp/registry-client/%s" .tls.clientCertificateKey }}
- name: SCHEMA_REGISTRY_SSL_KEY_FILE
  value: {{ printf "/etc/openbsp/registry-client/%s" .tls.clientKeyKey }}
{{- end }}
{{- end }}
{{- with $root.Values.topics }}
- name: TOPIC_PREFIX
  value: {{ .prefix | quote }}
- name: TOPIC_PARTITIONS
  value: {{ include "openbsp.text" .partitions }}
- name: TOPIC_REPLICATION_FACTOR
  value: {{ include "openbsp.text" .replicationFactor }}
- name: TOPIC_MIN_INSYNC_REPLICAS
  value: {{ include "openbsp.text" .minInsyncReplicas }}
- name: TOPIC_RETENTION_DAYS
  value: {{ include "openbsp.text" .retentionDays }}
- name: TOPIC_DEAD_LETTER_RETENTION_DAYS
  value: {{ include "openbsp.text" .deadLetterRetentionDays }}
{{- end }}
{{- end }}

{{/* Where certificates are mounted: /etc/openbsp/..., from these Secrets. */}}
{{- define "openbsp.certificates" -}}
{{- $certificates := dict -}}
{{- with .Values.kafka.tls -}}
{{- if .caSecret -}}{{- $_ := set $certificates "kafka-ca" .caSecret -}}{{- end -}}
{{- if .clientSecret -}}{{- $_ := set $certificates "kafka-client" .clientSecret -}}{{- end -}}
{{- end -}}
{{- with .Values.schemaRegistry.tls -}}
{{- if .caSecret -}}{{- $_ := set $certificates "registry-ca" .caSecret -}}{{- end -}}
{{- if .clientSecret -}}{{- $_ := set $certificates "registry-client" .clientSecret -}}{{- end -}}
{{- end -}}
{{- toJson $certificates -}}
{{- end }}

{{- define "openbsp.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- range $name, $secret := fromJson (include "openbsp.certificates" .) }}
- name: {{ $name }}
  mountPath: /etc/openbsp/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}

{{/* Everything is read-only but these and the volume of the component. */}}
{{- define "openbsp.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- range $name, $secret := fromJson (include "openbsp.certificates" .) }}
- name: {{ $name }}
  secret:
    secretName: {{ $secret }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* What all pods are: (list $ componentValues). */}}
{{- define "openbsp.pod" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
automountServiceAccountToken: false
{{- with $root.Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
# Trap: with service links a Service named `bridge` would set BRIDGE_PORT to tcp://...
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* What all containers are: (list $ componentValues). */}}
{{- define "openbsp.container" -}}
{{- $root := index . 0 -}}
{{- $own := index . 1 -}}
image: {{ include "openbsp.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml $own.resources | nindent 2 }}
{{- end }}

{{/* Pods of a component on different nodes, where that is possible: (list $ "bridge" componentValues). */}}
{{- define "openbsp.spread" -}}
topologySpreadConstraints:
{{- with (index . 2).topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "openbsp.selector" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* A claim's spec. */}}
{{- define "openbsp.claim" -}}
accessModes:
  {{- toYaml .accessModes | nindent 2 }}
{{- with .storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}

{{/* The probes of bridge and streams: /healthz is "restart it", /readyz is "send it requests". */}}
{{- define "openbsp.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 2
  timeoutSeconds: 4
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 5
  timeoutSeconds: 4
  failureThreshold: 3
{{- end }}

{{/* The tokens of bridge or streams as variables: (list "BRIDGE" componentValues). */}}
{{- define "openbsp.tokens" -}}
{{- $prefix := index . 0 -}}
{{- $own := index . 1 -}}
{{- if eq $own.tokens.as "file" -}}
- name: {{ $prefix }}_TOKENS_FILE
  value: /etc/openbsp/tokens/{{ $own.tokens.key }}
{{- else -}}
{{ include "openbsp.secret" (list (printf "%s_TOKENS" $prefix) $own.tokens.existingSecret $own.tokens.key) }}
{{- end }}
{{- with $own.metricsToken.existingSecret }}
{{ include "openbsp.secret" (list (printf "%s_METRICS_TOKEN" $prefix) . $own.metricsToken.key) }}
{{- end }}
{{- end }}

{{/* Where traces go, with a line feed before it; nothing without an endpoint. */}}
{{- define "openbsp.tracing" -}}
{{- with .Values.tracing }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_TRACES_SAMPLER
  value: {{ .sampler | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .samplerArgument | quote }}
{{- if .metrics }}
- name: OTEL_METRICS_EXPORTER
  value: otlp
{{- end }}
{{- with .resourceAttributes }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ . | quote }}
{{- end }}
{{- if .existingSecret }}
{{ include "openbsp.secret" (list "OTEL_EXPORTER_OTLP_HEADERS" .existingSecret .headersKey) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings that are set by variable. */}}
{{- define "openbsp.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ include "openbsp.text" $value }}
{{- end }}
{{- end }}

{{/* Refuses what would lose webhooks or not run, with a sentence that says why. */}}
{{- define "openbsp.check" -}}
{{- with .Values -}}
{{- if not .kafka.bootstrapServers -}}{{- fail "kafka.bootstrapServers is not set: where are the brokers?" -}}{{- end -}}
{{- if not .schemaRegistry.url -}}{{- fail "schemaRegistry.url is not set: where is the schema registry?" -}}{{- end -}}
{{- if not .bridge.persistence.enabled -}}
{{- fail "bridge.persistence.enabled is false, and the chart does not put the spool on an emptyDir: webhooks that were answered `spooled` are stored only there, and would be lost with the pod." -}}
{{- end -}}
{{- $spool := mul .bridge.workers (default 1073741824 .bridge.settings.BRIDGE_SPOOL_MAX_BYTES | int64) -}}
{{- if lt (include "openbsp.bytes" .bridge.persistence.size | int64) $spool -}}
{{- fail (printf "bridge.persistence.size is %s, and the spools may become larger: BRIDGE_SPOOL_MAX_BYTES x bridge.workers is %d bytes. A full disk refuses webhooks." .bridge.persistence.size $spool) -}}
{{- end -}}
{{- $memory := mul .bridge.workers (add 73400320 (default 268435456 .bridge.settings.BRIDGE_MEMORY_BYTES | int64) 67108864) -}}
{{- $limit := (default dict (default dict .bridge.resources).limits).memory -}}
{{- if and $limit (lt (include "openbsp.bytes" $limit | int64) $memory) -}}
{{- fail (printf "bridge.resources.limits.memory is %v, and has to be %dMi at least: (70 MiB + BRIDGE_MEMORY_BYTES + 64 MiB) x bridge.workers. A bridge that is killed for want of memory loses the requests in progress." $limit (div (add $memory 1048575) 1048576)) -}}
{{- end -}}
{{- if not .bridge.tokens.existingSecret -}}{{- fail "bridge.tokens.existingSecret is not set: without a token every webhook is refused. `bridge token new` makes one." -}}{{- end -}}
{{- if .bridge.podDisruptionBudget.enabled -}}
{{- $most := .bridge.podDisruptionBudget.maxUnavailable -}}
{{- if kindIs "string" $most -}}{{- $most = divf (mulf (trimSuffix "%" $most | int) .bridge.replicas) 100 | ceil -}}{{- end -}}
{{- if and (gt (int .bridge.replicas) 1) (ge (int $most) (int .bridge.replicas)) -}}
{{- fail (printf "bridge.podDisruptionBudget.maxUnavailable is %v, and all %d bridges could be drained at once: webhooks would be refused, and are not sent again." .bridge.podDisruptionBudget.maxUnavailable (int .bridge.replicas)) -}}
{{- end -}}
{{- end -}}
{{- if gt (int .topics.minInsyncReplicas) (int .topics.replicationFactor) -}}{{- fail "topics.minInsyncReplicas exceeds topics.replicationFactor: no write could succeed." -}}{{- end -}}
{{- $components := dict "bridge" .bridge -}}
{{- if .init.enabled -}}{{- $_ := set $components "init" .init -}}{{- end -}}
{{- if .streams.enabled -}}
{{- $_ := set $components "streams" .streams -}}
{{- if not .streams.tokens.existingSecret -}}{{- fail "streams.tokens.existingSecret is not set: without a token every request to the views is refused." -}}{{- end -}}
{{- $most := int .streams.replicas -}}
{{- if .streams.autoscaling.enabled -}}{{- $most = max $most (int .streams.autoscaling.maxReplicas) -}}{{- end -}}
{{- if gt (int $most) (int .topics.partitions) -}}
{{- fail (printf "streams has up to %d replicas and the topics %d partitions: the other workers would have nothing to do." (int $most) (int .topics.partitions)) -}}
{{- end -}}
{{- end -}}
{{- if .reconcile.enabled -}}
{{- $_ := set $components "reconcile" .reconcile -}}
{{- if not (and .reconcile.openbsp.url .reconcile.openbsp.existingSecret) -}}{{- fail "reconcile needs reconcile.openbsp.url and reconcile.openbsp.existingSecret." -}}{{- end -}}
{{- if not .reconcile.bridgeToken.existingSecret -}}{{- fail "reconcile.bridgeToken.existingSecret is not set: repairs are posted to the bridge with it." -}}{{- end -}}
{{- end -}}
{{- $sasl := hasPrefix "SASL" .kafka.securityProtocol -}}
{{- if and $sasl (not .kafka.sasl.mechanism) -}}{{- fail (printf "kafka.securityProtocol is %s, and kafka.sasl.mechanism is not set." .kafka.securityProtocol) -}}{{- end -}}
{{- if and .kafka.sasl.mechanism (not $sasl) -}}{{- fail (printf "kafka.sasl.mechanism is set, and kafka.securityProtocol is %s: no credentials would be asked for." .kafka.securityProtocol) -}}{{- end -}}
{{- if and (eq .kafka.sasl.mechanism "OAUTHBEARER") (not .kafka.sasl.oauth.tokenUrl) -}}{{- fail "kafka.sasl.oauth.tokenUrl is not set." -}}{{- end -}}
{{- if $sasl -}}
{{- range $name, $own := $components -}}
{{- if not (default $.Values.kafka.sasl.existingSecret $own.kafkaSecret) -}}{{- fail (printf "neither kafka.sasl.existingSecret nor %s.kafkaSecret is set: SASL needs credentials." $name) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .serviceMonitor.enabled (not .bridge.metricsToken.existingSecret) -}}{{- fail "serviceMonitor needs bridge.metricsToken.existingSecret: without a token nobody reads metrics." -}}{{- end -}}
{{- if and .serviceMonitor.enabled .streams.enabled (not .streams.metricsToken.existingSecret) -}}{{- fail "serviceMonitor needs streams.metricsToken.existingSecret: without a token nobody reads metrics." -}}{{- end -}}
{{- range $name, $own := dict "bridge" .bridge "streams" .streams -}}
{{- if and $own.ingress.enabled (not $own.ingress.host) -}}{{- fail (printf "%s.ingress.host is not set." $name) -}}{{- end -}}
{{- if and $own.autoscaling.enabled (lt (int $own.autoscaling.maxReplicas) (int $own.replicas)) -}}{{- fail (printf "%s.autoscaling.maxReplicas is less than %s.replicas." $name $name) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
