package openbsp.join;

import java.util.Map;

/** What one message adds to its conversation. It counts only in the conversation that its register names. */
record Contribution(
    String messageId,
    Register conversationId,
    Register organizationId,
    Register direction,
    Register timestamp,
    Register createdAt,
    Content content,
    Map<String, Long> status)
    implements Fact {

  /** The summary of the content and the version of the row that told it. */
  record Content(long version, Summary summary) {
    static Content newer(Content a, Content b) {
      if (a == null || b == null) {
        return a == null ? b : a;
      }
      int order = Long.compare(a.version, b.version);
      return (order == 0 ? Summary.ORDER.compare(a.summary, b.summary) : order) >= 0 ? a : b;
    }
  }

  /** What both say together: idempotent, commutative, associative. */
  Contribution join(Contribution other) {
    return new Contribution(
        messageId,
        Register.newer(conversationId, other.conversationId),
        Register.newer(organizationId, other.organizationId),
        Register.newer(direction, other.direction),
        Register.newer(timestamp, other.timestamp),
        Register.newer(createdAt, other.createdAt),
        Content.newer(content, other.content),
        Maps.join(status, other.status, Math::max));
  }

  boolean belongsTo(String conversation) {
    return conversationId != null && conversation.equals(conversationId.value());
  }

  String directionText() {
    return Register.text(direction);
  }

  /** The message's time: timestamp, else created_at, else null. */
  Long time() {
    Long time = Register.instant(timestamp);
    return time == null ? Register.instant(createdAt) : time;
  }

  /** Where the message stands in its conversation: by time, then id. */
  Position position() {
    Long time = time();
    return new Position(time == null ? Register.NEVER : time, messageId);
  }

  /** The order of messages in a conversation. */
  record Position(long time, String messageId) implements Comparable<Position> {
    @Override
    public int compareTo(Position other) {
      int order = Long.compare(time, other.time);
      return order == 0 ? messageId.compareTo(other.messageId) : order;
    }
  }
}
