package openbsp.join;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Comparator;

/** content.type, content.kind and the beginning of the text of a message; null for what it does not say as text. */
record Summary(String type, String kind, String preview) {

  static final Summary NONE = new Summary(null, null, null);

  private static final int PREVIEW_CHARACTERS = 280;
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Comparator<String> NULLS_FIRST = Comparator.nullsFirst(Comparator.naturalOrder());
  static final Comparator<Summary> ORDER =
      Comparator.comparing(Summary::type, NULLS_FIRST)
          .thenComparing(Summary::kind, NULLS_FIRST)
          .thenComparing(Summary::preview, NULLS_FIRST);

  /** The summary of a content (JSON text); its text is a string, or an object with a body. */
  static Summary of(Object content) {
    if (!(content instanceof String text)) {
      return NONE;
    }
    try {
      JsonNode node = JSON.readTree(text);
      JsonNode body = node.path("text");
      String preview = (body.isObject() ? body.path("body") : body).textValue();
      if (preview != null && preview.length() > PREVIEW_CHARACTERS) {
        int characters = Math.min(PREVIEW_CHARACTERS, preview.codePointCount(0, preview.length()));
        preview = preview.substring(0, preview.offsetByCodePoints(0, characters));
      }
      return new Summary(node.path("type").textValue(), node.path("kind").textValue(), preview);
    } catch (JsonProcessingException malformed) {
      return NONE;
    }
  }
}
