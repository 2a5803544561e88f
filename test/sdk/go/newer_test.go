//go:build go1.22

// What the SDK that an older Go can build doesn't have yet.
package sdk

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
)

func TestStreamGetsThemAndItsAnswersCount(t *testing.T) {
	if strings.Contains(os.Getenv("NOT_YET"), "stream") {
		t.Skip("streaming subscriptions aren't there yet")
	}
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		topic, dead := key("streamed"), "dead"
		var mutex sync.Mutex
		got := map[string]int{}
		count := func(data string) int {
			mutex.Lock()
			defer mutex.Unlock()
			return got[data]
		}
		// Refuses each event once, and drops the second.
		stop, err := client.SubscribeWithHandler(ctx,
			dapr.SubscriptionOptions{PubsubName: pubsub, Topic: topic, DeadLetterTopic: &dead},
			func(e *common.TopicEvent) common.SubscriptionResponseStatus {
				mutex.Lock()
				defer mutex.Unlock()
				data := fmt.Sprint(e.Data)
				got[data]++
				if got[data] == 1 {
					return common.SubscriptionResponseStatusRetry
				}
				if data == key("b") {
					return common.SubscriptionResponseStatusDrop
				}
				return common.SubscriptionResponseStatusSuccess
			})
		ok(t, err)
		text := dapr.PublishEventWithContentType("text/plain")
		ok(t, client.PublishEvent(ctx, pubsub, topic, key("a"), text))
		ok(t, client.PublishEvent(ctx, pubsub, topic, key("b"), text))
		until(t, "both, twice", func() bool { return count(key("a")) == 2 && count(key("b")) == 2 })
		arrives(t, pubsub, "dead", key("b"))
		ok(t, stop())
		equal(t, count(key("a"))+count(key("b")), 4)
	})
}

func TestMetadataIsReadAndWritten(t *testing.T) {
	ok(t, client.SetMetadata(ctx, "mood", "calm"))
	got, err := client.GetMetadata(ctx)
	ok(t, err)
	equal(t, got.ID, "caller")
	equal(t, got.ExtendedMetadata["mood"], "calm")
	types := map[string]string{}
	for _, c := range got.RegisteredComponents {
		types[c.Name] = c.Type
	}
	equal(t, types["secrets"], "secretstores.local.file")
}
