package openbsp;

import org.apache.camel.Exchange;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.component.kafka.KafkaConstants;
import org.apache.camel.main.Main;

/**
 * What a user of Camel would write for webhooks that must be in Kafka before they are answered: the body as it came,
 * under the row's id. PORT, KAFKA and TOPIC are environment variables.
 */
public final class Endpoint extends RouteBuilder {
    @Override
    public void configure() {
        from("netty-http:http://127.0.0.1:{{env:PORT}}/webhooks?httpMethodRestrict=POST")
            .convertBodyTo(byte[].class)
            // Else the request's headers, with its token, become headers of the record.
            .removeHeaders("*")
            .setHeader(KafkaConstants.KEY, jsonpath("$.data.id", String.class))
            .to("kafka:{{env:TOPIC}}?brokers={{env:KAFKA}}&requestRequiredAcks=all&enableIdempotence=true"
                + "&valueSerializer=org.apache.kafka.common.serialization.ByteArraySerializer")
            .removeHeaders("*")
            .setHeader(Exchange.HTTP_RESPONSE_CODE, constant(202))
            .setBody(constant(""));
    }

    /** Runs until it is ended. */
    public static void main(String[] arguments) throws Exception {
        Main main = new Main();
        main.configure().addRoutesBuilder(new Endpoint());
        main.run(arguments);
    }
}
