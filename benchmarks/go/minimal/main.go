// An endpoint that reads a webhook, produces its body and answers when the broker has acknowledged the record. Nothing
// else: no authentication, no Avro, no metrics, no log. What a receiver that waits for Kafka can reach, on the
// standard library's server and a client in pure Go, with as many processors as there are.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"

	"github.com/twmb/franz-go/pkg/kgo"
)

const largest = 1 << 20

type event struct {
	Data struct {
		ID string `json:"id"`
	} `json:"data"`
}

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "address of the endpoint")
	servers := flag.String("kafka", "127.0.0.1:9092", "a broker")
	topic := flag.String("topic", "minimal", "where the bodies go")
	flag.Parse()

	client, err := kgo.NewClient(
		kgo.SeedBrokers(*servers),
		kgo.DefaultProduceTopic(*topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	http.HandleFunc("POST /webhooks", func(answer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, largest))
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		var read event
		if err := json.Unmarshal(body, &read); err != nil || read.Data.ID == "" {
			http.Error(answer, "no event", http.StatusUnprocessableEntity)
			return
		}
		record := &kgo.Record{Key: []byte(read.Data.ID), Value: body}
		if err := client.ProduceSync(request.Context(), record).FirstErr(); err != nil {
			http.Error(answer, err.Error(), http.StatusServiceUnavailable)
			return
		}
		answer.WriteHeader(http.StatusAccepted)
	})
	log.Fatal(http.ListenAndServe(*address, nil))
}
