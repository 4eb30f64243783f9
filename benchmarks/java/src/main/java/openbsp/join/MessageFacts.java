package openbsp.join;

import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * All that is remembered of a message.
 *
 * @param conversations all that it was ever said to belong to, sorted: those that it left must hear of it
 */
record MessageFacts(
    Columns columns,
    Map<String, Long> status,
    Errors errors,
    Map<String, OddStatus> oddStatus,
    List<String> conversations) {

  /** status.errors (JSON texts), and the version of the row that told them. */
  record Errors(long version, List<String> texts) {}

  /** A member of the status that is no instant (JSON text), and the version of the row that told it. */
  record OddStatus(long version, String text) {
    static OddStatus newer(OddStatus a, OddStatus b) {
      int order = Long.compare(a.version, b.version);
      return (order == 0 ? a.text.compareTo(b.text) : order) >= 0 ? a : b;
    }
  }

  /** What both say together: idempotent, commutative, associative. */
  MessageFacts join(MessageFacts other) {
    Columns joined = columns.join(other.columns);
    joined.typed()[Columns.CONTENT] =
        newerContent(columns.typed()[Columns.CONTENT], other.columns.typed()[Columns.CONTENT]);
    return new MessageFacts(
        joined,
        Maps.join(status, other.status, Math::max),
        newerErrors(errors, other.errors),
        Maps.join(oddStatus, other.oddStatus, OddStatus::newer),
        union(conversations, other.conversations));
  }

  // A conversation knows only the summary of a content, so that decides a tie before the content does.
  private static Register newerContent(Register a, Register b) {
    if (a != null && b != null && a.version() == b.version() && !a.equals(b)) {
      int order = Summary.ORDER.compare(Summary.of(a.value()), Summary.of(b.value()));
      if (order != 0) {
        return order > 0 ? a : b;
      }
    }
    return Register.newer(a, b);
  }

  private static Errors newerErrors(Errors a, Errors b) {
    if (a == null || b == null) {
      return a == null ? b : a;
    }
    int order = Long.compare(a.version, b.version);
    return (order == 0 ? a.texts.toString().compareTo(b.texts.toString()) : order) >= 0 ? a : b;
  }

  private static List<String> union(List<String> a, List<String> b) {
    if (b.isEmpty() || a.equals(b)) {
      return a;
    }
    TreeSet<String> union = new TreeSet<>(a);
    union.addAll(b);
    return List.copyOf(union);
  }

  /** What the message adds to its conversation. */
  Contribution contribution(String messageId) {
    Register[] typed = columns.typed();
    Register content = typed[Columns.CONTENT];
    return new Contribution(
        messageId,
        typed[Columns.CONVERSATION_ID],
        typed[0],
        typed[Columns.DIRECTION],
        typed[Columns.TIMESTAMP],
        typed[Columns.CREATED_AT],
        content == null ? null : new Contribution.Content(content.version(), Summary.of(content.value())),
        status);
  }
}
