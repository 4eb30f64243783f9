package openbsp.join;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import openbsp.join.Contribution.Position;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Rows and contributions to states and status changes.
 *
 * <p>The stores hold facts only. Tallies are derived: kept on the heap for the conversations in use, and made again
 * from the contributions, which lie beside each other in their store.
 */
final class Conversations extends ContextualFixedKeyProcessor<String, Fact, Conversations.Result> {

  static final String ROWS = "conversations";
  static final String CONTRIBUTIONS = "contributions";

  private static final char SEPARATOR = '\0';
  private static final int IN_USE = 50_000;

  /** An encoded ConversationState ({@code state}) or StatusChange. */
  record Result(boolean state, byte[] value) {}

  private final Contract contract;
  private final StringSerializer prefixes = new StringSerializer();
  private final Map<String, Tally> tallies =
      new LinkedHashMap<>(1024, 0.75f, true) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Tally> eldest) {
          return size() > IN_USE;
        }
      };
  private KeyValueStore<String, ConversationFacts> rows;
  private KeyValueStore<String, Contribution> contributions;

  Conversations(Contract contract) {
    this.contract = contract;
  }

  @Override
  public void init(FixedKeyProcessorContext<String, Result> context) {
    super.init(context);
    rows = context.getStateStore(ROWS);
    contributions = context.getStateStore(CONTRIBUTIONS);
  }

  @Override
  public void process(FixedKeyRecord<String, Fact> fact) {
    ConversationFacts row = rows.get(fact.key());
    if (fact.value() instanceof ConversationFacts told) {
      row = row == null ? told : row.join(told);
      rows.put(fact.key(), row);
    } else {
      contribute(fact, (Contribution) fact.value(), row);
    }
    Tally tally = tally(fact.key());
    Position last = tally.last();
    Contribution newest = last == null ? null : contributions.get(key(fact.key(), last.messageId()));
    byte[] state = contract.conversationState(fact.key(), row, tally, newest);
    // Stream time: the table of states takes a record that is older than the last one of its key for late.
    context().forward(fact.withValue(new Result(true, state)).withTimestamp(context().currentStreamTimeMs()));
  }

  private void contribute(FixedKeyRecord<String, Fact> fact, Contribution told, ConversationFacts row) {
    String conversation = fact.key();
    Tally tally = tally(conversation);
    String key = key(conversation, told.messageId());
    Contribution old = contributions.get(key);
    Contribution current = old == null ? told : old.join(told);
    contributions.put(key, current);
    tally.replace(conversation, old, current);
    if (!current.belongsTo(conversation)) {
      return;
    }
    for (Map.Entry<String, Long> status : current.status().entrySet()) {
      if (old == null || !old.status().containsKey(status.getKey())) {
        String id = contract.statusChangeId(told.messageId(), status.getKey());
        byte[] value = contract.statusChange(id, conversation, current, status.getKey(), row);
        Headers headers = CloudEvents.headers("openbsp.status-change", id, told.messageId(), status.getValue());
        context().forward(fact.withValue(new Result(false, value)).withHeaders(headers));
      }
    }
  }

  private Tally tally(String conversation) {
    Tally tally = tallies.get(conversation);
    if (tally == null || tally.stale) {
      List<Contribution> all = new ArrayList<>();
      try (KeyValueIterator<String, Contribution> found =
          contributions.prefixScan(conversation + SEPARATOR, prefixes)) {
        while (found.hasNext()) {
          KeyValue<String, Contribution> next = found.next();
          all.add(next.value);
        }
      }
      tally = Tally.of(conversation, all);
      tallies.put(conversation, tally);
    }
    return tally;
  }

  private static String key(String conversation, String message) {
    return conversation + SEPARATOR + message;
  }
}
