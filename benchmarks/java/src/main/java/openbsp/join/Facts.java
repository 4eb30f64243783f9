package openbsp.join;

import java.io.IOException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** How facts are kept in stores, changelogs and the repartition topic: a format of this job alone. */
final class Facts {

  private static final byte[] NO_PREFIX = {};

  private Facts() {}

  static Serde<MessageFacts> messages() {
    return serde(Facts::readMessage, Facts::writeMessage);
  }

  static Serde<Contribution> contributions() {
    return serde(Facts::readContribution, Facts::writeContribution);
  }

  static Serde<ConversationFacts> conversations() {
    return serde(
        input -> new ConversationFacts(readColumns(input, Columns.CONVERSATION.length)),
        (output, facts) -> writeColumns(output, facts.columns()));
  }

  private static <T> Serde<T> serde(Input.Read<T> read, Output.Write<T> write) {
    Input input = new Input();
    Output output = new Output();
    return Serdes.serdeFrom(
        (topic, value) -> value == null ? null : output.write(NO_PREFIX, value, write),
        (topic, bytes) -> bytes == null ? null : input.read(bytes, 0, read));
  }

  private static MessageFacts readMessage(Input input) throws IOException {
    return new MessageFacts(
        readColumns(input, Columns.MESSAGE.length),
        input.map(Input::number),
        input.optional(in -> new MessageFacts.Errors(in.number(), in.strings())),
        input.map(in -> new MessageFacts.OddStatus(in.number(), in.string())),
        input.strings());
  }

  private static void writeMessage(Output output, MessageFacts facts) throws IOException {
    writeColumns(output, facts.columns());
    output.map(facts.status(), Output::number);
    output.optional(
        facts.errors(),
        (out, errors) -> {
          out.number(errors.version());
          out.strings(errors.texts());
        });
    output.map(
        facts.oddStatus(),
        (out, odd) -> {
          out.number(odd.version());
          out.string(odd.text());
        });
    output.strings(facts.conversations());
  }

  private static Contribution readContribution(Input input) throws IOException {
    return new Contribution(
        input.string(),
        readRegister(input),
        readRegister(input),
        readRegister(input),
        readRegister(input),
        readRegister(input),
        input.optional(
            in -> new Contribution.Content(in.number(), new Summary(in.text(), in.text(), in.text()))),
        input.map(Input::number));
  }

  private static void writeContribution(Output output, Contribution contribution) throws IOException {
    output.string(contribution.messageId());
    writeRegister(output, contribution.conversationId());
    writeRegister(output, contribution.organizationId());
    writeRegister(output, contribution.direction());
    writeRegister(output, contribution.timestamp());
    writeRegister(output, contribution.createdAt());
    output.optional(
        contribution.content(),
        (out, content) -> {
          out.number(content.version());
          out.text(content.summary().type());
          out.text(content.summary().kind());
          out.text(content.summary().preview());
        });
    output.map(contribution.status(), Output::number);
  }

  private static Columns readColumns(Input input, int count) throws IOException {
    Register[] typed = new Register[count];
    for (int i = 0; i < count; i++) {
      typed[i] = readRegister(input);
    }
    return new Columns(typed, input.map(Facts::readRegister));
  }

  private static void writeColumns(Output output, Columns columns) throws IOException {
    for (Register register : columns.typed()) {
      writeRegister(output, register);
    }
    output.map(columns.others(), Facts::writeRegister);
  }

  // A register begins with what it holds: 0 nothing at all, 1 null, 2 text, 3 an instant, 4 JSON text.
  private static Register readRegister(Input input) throws IOException {
    long kind = input.number();
    if (kind == 0) {
      return null;
    }
    long version = input.number();
    Object value = null;
    if (kind == 2) {
      value = input.string();
    } else if (kind == 3) {
      value = input.number();
    } else if (kind == 4) {
      value = new Register.Json(input.string());
    }
    return new Register(version, value);
  }

  private static void writeRegister(Output output, Register register) throws IOException {
    if (register == null) {
      output.number(0);
    } else if (register.value() == null) {
      output.number(1);
      output.number(register.version());
    } else if (register.value() instanceof String text) {
      output.number(2);
      output.number(register.version());
      output.string(text);
    } else if (register.value() instanceof Long instant) {
      output.number(3);
      output.number(register.version());
      output.number(instant);
    } else {
      output.number(4);
      output.number(register.version());
      output.string(((Register.Json) register.value()).text());
    }
  }
}
