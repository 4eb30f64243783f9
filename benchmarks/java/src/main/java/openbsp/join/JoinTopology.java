package openbsp.join;

import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The join.
 *
 * <pre>
 * messages -> reduce (table "messages") -+-> message-state
 *                                        +-> re-key -> contributions -+
 *                                                      conversations -+-> Conversations -+-> status-changes
 *                                                                                        +-> table "states"
 *                                                                                              -> conversation-state
 * </pre>
 */
final class JoinTopology {

  private static final Serde<String> TEXT = Serdes.String();
  private static final Serde<byte[]> BYTES = Serdes.ByteArray();

  private JoinTopology() {}

  static Topology build(Properties job) {
    boolean memory = job.getProperty("store").equals("memory");
    int partitions = Integer.parseInt(job.getProperty("partitions"));
    String prefix = job.getProperty("topic.prefix");
    Contract contract = new Contract(job);
    StreamsBuilder builder = new StreamsBuilder();

    Serde<MessageFacts> messageEvents =
        Serdes.serdeFrom(Facts.messages().serializer(), contract.messageEvents());
    KStream<String, MessageFacts> messages =
        builder
            .stream(prefix + "messages", Consumed.with(TEXT, messageEvents))
            .processValues(CommitWhenIdle<MessageFacts>::new)
            .groupByKey(Grouped.with(TEXT, Facts.messages()))
            .reduce(
                MessageFacts::join,
                Materialized.<String, MessageFacts, KeyValueStore<Bytes, byte[]>>as("messages")
                    .withStoreType(
                        memory ? new BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers()
                            : new BuiltInDslStoreSuppliers.RocksDBDslStoreSuppliers())
                    .withKeySerde(TEXT)
                    .withValueSerde(Facts.messages()))
            .toStream();

    messages
        .mapValues(contract::messageState)
        .processValues(() -> new WithHeaders(contract, "openbsp.message-state"))
        .to(prefix + "message-state", Produced.with(TEXT, BYTES));

    KStream<String, Fact> contributions =
        messages
            .flatMap(JoinTopology::contributions)
            .repartition(
                Repartitioned.with(TEXT, Facts.contributions())
                    .withName("contributions")
                    .withNumberOfPartitions(partitions))
            .mapValues(contribution -> contribution);

    Serde<ConversationFacts> conversationEvents =
        Serdes.serdeFrom(Facts.conversations().serializer(), contract.conversationEvents());
    KStream<String, Fact> rows =
        builder
            .stream(prefix + "conversations", Consumed.with(TEXT, conversationEvents))
            .mapValues(row -> row);

    builder.addStateStore(
        Stores.keyValueStoreBuilder(supplier(memory, Conversations.ROWS), TEXT, Facts.conversations())
            .withCachingEnabled());
    builder.addStateStore(
        Stores.keyValueStoreBuilder(supplier(memory, Conversations.CONTRIBUTIONS), TEXT, Facts.contributions())
            .withCachingEnabled());
    Map<String, KStream<String, Conversations.Result>> results =
        contributions
            .merge(rows)
            .processValues(CommitWhenIdle<Fact>::new)
            .processValues(() -> new Conversations(contract), Conversations.ROWS, Conversations.CONTRIBUTIONS)
            .split(Named.as("result-"))
            .branch((key, result) -> result.state(), Branched.as("state"))
            .defaultBranch(Branched.as("status-change"));

    results
        .get("result-status-change")
        .mapValues(Conversations.Result::value)
        .to(prefix + "status-changes", Produced.with(TEXT, BYTES));
    results
        .get("result-state")
        .mapValues(Conversations.Result::value)
        .toTable(
            Materialized.<String, byte[], KeyValueStore<Bytes, byte[]>>as("states")
                .withStoreType(
                    memory ? new BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers()
                        : new BuiltInDslStoreSuppliers.RocksDBDslStoreSuppliers())
                .withKeySerde(TEXT)
                .withValueSerde(BYTES))
        .toStream()
        .processValues(() -> new WithHeaders(contract, "openbsp.conversation-state"))
        .to(prefix + "conversation-state", Produced.with(TEXT, BYTES));
    return builder.build();
  }

  private static KeyValueBytesStoreSupplier supplier(boolean memory, String name) {
    return memory ? Stores.inMemoryKeyValueStore(name) : Stores.persistentKeyValueStore(name);
  }

  private static List<KeyValue<String, Contribution>> contributions(String messageId, MessageFacts facts) {
    Contribution contribution = facts.contribution(messageId);
    return facts.conversations().stream()
        .map(conversation -> KeyValue.pair(conversation, contribution))
        .collect(Collectors.toList());
  }

  /** Gives a state its CloudEvents headers. */
  private static final class WithHeaders extends ContextualFixedKeyProcessor<String, byte[], byte[]> {

    private final Contract contract;
    private final String type;

    WithHeaders(Contract contract, String type) {
      this.contract = contract;
      this.type = type;
    }

    @Override
    public void process(FixedKeyRecord<String, byte[]> state) {
      String id = contract.stateId(state.value());
      context().forward(state.withHeaders(CloudEvents.headers(type, id, state.key(), state.timestamp() * 1000)));
    }
  }
}
