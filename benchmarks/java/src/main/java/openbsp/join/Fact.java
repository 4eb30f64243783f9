package openbsp.join;

/** What a conversation can hear of: its own row, or one of its messages. */
sealed interface Fact permits ConversationFacts, Contribution {}
