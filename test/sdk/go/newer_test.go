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

// subscribes to a topic until the test ends; answer is told how often the event has come.
func stream(t *testing.T, options dapr.SubscriptionOptions, answer func(n int) common.SubscriptionResponseStatus) (count func(data string) int) {
	t.Helper()
	if strings.Contains(os.Getenv("NOT_YET"), "stream") {
		t.Skip("streaming subscriptions aren't there yet")
	}
	var mutex sync.Mutex
	got := map[string]int{}
	stop, err := client.SubscribeWithHandler(ctx, options, func(e *common.TopicEvent) common.SubscriptionResponseStatus {
		mutex.Lock()
		defer mutex.Unlock()
		data := fmt.Sprint(e.Data)
		got[data]++
		return answer(got[data])
	})
	ok(t, err)
	t.Cleanup(func() { ok(t, stop()) })
	return func(data string) int {
		mutex.Lock()
		defer mutex.Unlock()
		return got[data]
	}
}

func TestStreamGetsThemAndRetries(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		topic, text := key("streamed"), dapr.PublishEventWithContentType("text/plain")
		count := stream(t, dapr.SubscriptionOptions{PubsubName: pubsub, Topic: topic}, func(n int) common.SubscriptionResponseStatus {
			if n == 1 {
				return common.SubscriptionResponseStatusRetry
			}
			return common.SubscriptionResponseStatusSuccess
		})
		ok(t, client.PublishEvent(ctx, pubsub, topic, key("a"), text))
		ok(t, client.PublishEvent(ctx, pubsub, topic, key("b"), text))
		until(t, "both, twice", func() bool { return count(key("a")) == 2 && count(key("b")) == 2 })
	})
}

func TestStreamDropsIntoTheDeadLetterTopic(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		topic, dead := key("dropping"), "dead"
		options := dapr.SubscriptionOptions{PubsubName: pubsub, Topic: topic, DeadLetterTopic: &dead}
		count := stream(t, options, func(int) common.SubscriptionResponseStatus {
			return common.SubscriptionResponseStatusDrop
		})
		ok(t, client.PublishEvent(ctx, pubsub, topic, key("dropped"), dapr.PublishEventWithContentType("text/plain")))
		arrives(t, pubsub, "dead", key("dropped"))
		equal(t, count(key("dropped")), 1)
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
