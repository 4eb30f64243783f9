package openbsp.join;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import openbsp.join.Contribution.Position;
import org.apache.kafka.common.serialization.Deserializer;

/**
 * The published values in Confluent wire format, as the project's schemas have them: field after field, by hand.
 *
 * <p>The writers' schema ids come with the job's properties; a value under another id ends the job.
 */
final class Contract {

  private static final int PREFIX_BYTES = 5;
  private static final byte[] NEW_LINE = {'\n'};

  private final Properties job;
  private final byte[] messageState;
  private final byte[] conversationState;
  private final byte[] statusChange;
  private final byte[] nameSpace;
  private final MessageDigest sha1;
  private final Output output = new Output();

  Contract(Properties job) {
    this.job = job;
    messageState = prefix("MessageState");
    conversationState = prefix("ConversationState");
    statusChange = prefix("StatusChange");
    nameSpace = HexFormat.of().parseHex(job.getProperty("name.space"));
    try {
      sha1 = MessageDigest.getInstance("SHA-1");
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  private byte[] prefix(String record) {
    int id = Integer.parseInt(job.getProperty("schema." + record));
    return ByteBuffer.allocate(PREFIX_BYTES).put((byte) 0).putInt(id).array();
  }

  Deserializer<MessageFacts> messageEvents() {
    return reader("MessageEvent", Contract::readMessageEvent);
  }

  Deserializer<ConversationFacts> conversationEvents() {
    return reader("ConversationEvent", Contract::readConversationEvent);
  }

  private <T> Deserializer<T> reader(String record, Input.Read<T> read) {
    Input input = new Input();
    byte[] expected = prefix(record);
    return (topic, bytes) -> {
      for (int i = 0; i < PREFIX_BYTES; i++) {
        if (bytes[i] != expected[i]) {
          throw new IllegalArgumentException(topic + ": not a " + record);
        }
      }
      return input.read(bytes, PREFIX_BYTES, read);
    };
  }

  private static MessageFacts readMessageEvent(Input in) throws IOException {
    skipEnvelope(in);
    Object[] values = new Object[Columns.MESSAGE.length];
    for (int i = 0; i <= Columns.CONTENT; i++) {
      values[i] = in.text();
    }
    Map<String, Long> status = in.optional(input -> input.map(Input::number));
    List<String> errors = in.optional(Input::strings);
    Map<String, String> odd = in.optional(input -> input.map(Input::string));
    for (int i = Columns.TIMESTAMP; i < values.length; i++) {
      values[i] = in.instant();
    }
    long version = version(values[Columns.CREATED_AT], values[values.length - 1]);
    Map<String, MessageFacts.OddStatus> oddStatus = Map.of();
    if (odd != null && !odd.isEmpty()) {
      oddStatus = new TreeMap<>();
      for (Map.Entry<String, String> entry : odd.entrySet()) {
        oddStatus.put(entry.getKey(), new MessageFacts.OddStatus(version, entry.getValue()));
      }
    }
    String conversation = (String) values[Columns.CONVERSATION_ID];
    return new MessageFacts(
        Columns.told(Columns.MESSAGE, values, version, in.map(Input::string), in.strings()),
        status == null ? Map.of() : status,
        errors == null ? null : new MessageFacts.Errors(version, errors),
        oddStatus,
        conversation == null ? List.of() : List.of(conversation));
  }

  private static ConversationFacts readConversationEvent(Input in) throws IOException {
    skipEnvelope(in);
    Object[] values = new Object[Columns.CONVERSATION.length];
    for (int i = 0; i <= Columns.STATUS; i++) {
      values[i] = in.text();
    }
    for (int i = Columns.STATUS + 1; i < values.length; i++) {
      values[i] = in.instant();
    }
    long version = version(values[values.length - 2], values[values.length - 1]);
    return new ConversationFacts(
        Columns.told(Columns.CONVERSATION, values, version, in.map(Input::string), in.strings()));
  }

  private static void skipEnvelope(Input in) throws IOException {
    in.string(); // event_id
    in.string(); // action
    in.number(); // received_at
    in.string(); // id, which is the key too
  }

  private static long version(Object createdAt, Object updatedAt) {
    Object version = updatedAt == null ? createdAt : updatedAt;
    return version == null ? Register.NEVER : (Long) version;
  }

  /** The MessageState that follows from the facts. */
  byte[] messageState(String messageId, MessageFacts facts) {
    return output.write(messageState, facts, (out, value) -> writeMessageState(out, messageId, value));
  }

  private static void writeMessageState(Output out, String messageId, MessageFacts facts) throws IOException {
    Register[] typed = facts.columns().typed();
    Map<String, Long> status = facts.status();
    out.string(messageId);
    for (int i = 0; i <= Columns.CONTENT; i++) {
      out.text(Register.text(typed[i]));
    }
    out.optional(status, (o, moments) -> o.map(moments, Output::number));
    out.optional(facts.errors(), (o, errors) -> o.strings(errors.texts()));
    Map<String, String> odd = null;
    if (!facts.oddStatus().isEmpty()) {
      odd = new TreeMap<>();
      for (Map.Entry<String, MessageFacts.OddStatus> entry : facts.oddStatus().entrySet()) {
        if (!entry.getValue().text().equals("null") && !status.containsKey(entry.getKey())) {
          odd.put(entry.getKey(), entry.getValue().text());
        }
      }
    }
    out.optional(odd, (o, texts) -> o.map(texts, Output::string));
    for (int i = Columns.TIMESTAMP; i < typed.length; i++) {
      out.instant(Register.instant(typed[i]));
    }
    out.map(facts.columns().extra(Columns.MESSAGE), Output::string);
    out.strings(facts.columns().nulls(Columns.MESSAGE));
    out.text(Statuses.delivery(status));
    Long time = Register.instant(typed[Columns.TIMESTAMP]);
    time = time == null ? Register.instant(typed[Columns.CREATED_AT]) : time;
    for (String reached : List.of("sent", "delivered", "read")) {
      Long at = status.get(reached);
      out.instant(at == null || time == null ? null : (Long) Math.floorDiv(at - time, 1000L));
    }
  }

  /** The ConversationState that follows from the row, the tally and the last message; row and message may be null. */
  byte[] conversationState(String conversationId, ConversationFacts row, Tally tally, Contribution last) {
    return output.write(
        conversationState, tally, (out, value) -> writeConversationState(out, conversationId, row, value, last));
  }

  private static void writeConversationState(
      Output out, String conversationId, ConversationFacts row, Tally tally, Contribution last) throws IOException {
    Register[] typed = row == null ? new Register[Columns.CONVERSATION.length] : row.columns().typed();
    out.string(conversationId);
    for (int i = 0; i <= Columns.STATUS; i++) {
      out.text(Register.text(typed[i]));
    }
    for (int i = Columns.STATUS + 1; i < typed.length; i++) {
      out.instant(Register.instant(typed[i]));
    }
    out.map(row == null ? Map.of() : row.columns().extra(Columns.CONVERSATION), Output::string);
    out.strings(row == null ? List.of() : row.columns().nulls(Columns.CONVERSATION));
    out.flag(row != null);
    out.number(tally.messages);
    out.number(tally.incoming);
    out.number(tally.outgoing);
    out.number(tally.internal);
    out.map(tally.statusCounts, (o, count) -> o.number(count));
    out.number(tally.unread);
    out.optional(last, Contract::writeLastMessage);
    out.instant(time(tally.lastIncoming));
    out.instant(time(tally.lastOutgoing));
    boolean incoming = last != null && "incoming".equals(last.directionText());
    out.flag(incoming && !"closed".equals(Register.text(typed[Columns.STATUS])));
    boolean answered = tally.firstIncoming != null && tally.reply != null;
    out.decimal(answered ? (tally.reply.time() - tally.firstIncoming.time()) / 1e6 : null);
  }

  private static void writeLastMessage(Output out, Contribution last) throws IOException {
    Summary summary = last.content() == null ? Summary.NONE : last.content().summary();
    out.string(last.messageId());
    out.text(last.directionText());
    out.text(summary.type());
    out.text(summary.kind());
    out.text(summary.preview());
    out.instant(last.time());
    out.text(Statuses.delivery(last.status()));
  }

  private static Long time(Position position) {
    return position == null || position.time() == Register.NEVER ? null : (Long) position.time();
  }

  /** The id of a state: of its value. */
  String stateId(byte[] value) {
    return CloudEvents.uuid(sha1, nameSpace, value);
  }

  /** The id of the fact that a message has a status. */
  String statusChangeId(String messageId, String status) {
    byte[] key = CloudEvents.bytes(status);
    byte[] start = CloudEvents.bytes("status-change\n" + key.length + "\n");
    return CloudEvents.uuid(sha1, nameSpace, start, key, NEW_LINE, CloudEvents.bytes(messageId));
  }

  /** The StatusChange for one status that a message has, told with its conversation; the row may be null. */
  byte[] statusChange(
      String id, String conversationId, Contribution contribution, String status, ConversationFacts row) {
    return output.write(
        statusChange,
        contribution,
        (out, value) -> writeStatusChange(out, id, conversationId, value, status, row));
  }

  private static void writeStatusChange(
      Output out, String id, String conversationId, Contribution contribution, String status, ConversationFacts row)
      throws IOException {
    long at = contribution.status().get(status);
    Long time = contribution.time();
    out.string(id);
    out.string(contribution.messageId());
    out.string(conversationId);
    out.text(Register.text(contribution.organizationId()));
    out.text(contribution.directionText());
    out.string(status);
    out.number(at);
    out.text(Statuses.before(contribution.status(), status));
    out.decimal(time == null ? null : (Double) ((at - time) / 1e6));
    out.optional(row == null ? null : row.columns().typed(), Contract::writeConversation);
  }

  private static void writeConversation(Output out, Register[] row) throws IOException {
    out.text(Register.text(row[Columns.STATUS]));
    out.text(Register.text(row[1])); // service
    out.text(Register.text(row[3])); // contact_address
    out.text(Register.text(row[2])); // organization_address
    out.text(Register.text(row[5])); // name
  }
}
