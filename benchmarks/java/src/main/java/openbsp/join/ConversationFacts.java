package openbsp.join;

/** All that is remembered of a conversation's row. */
record ConversationFacts(Columns columns) implements Fact {

  /** What both say together: idempotent, commutative, associative. */
  ConversationFacts join(ConversationFacts other) {
    return new ConversationFacts(columns.join(other.columns));
  }
}
