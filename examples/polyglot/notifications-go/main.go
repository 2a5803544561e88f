// notifications in Go, over gRPC: tells customers how their orders ended, and keeps what nobody could
// process. Keys: notice/<order>, dead/<event>.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"regexp"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/dapr/go-sdk/service/common"
	daprgrpc "github.com/dapr/go-sdk/service/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	bus   = "bus"
	store = "store"
)

var name = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// order is what an event of the order system tells.
type order struct {
	ID       string `json:"order"`
	Customer string `json:"customer"`
	Country  string `json:"country"`
	SKU      string `json:"sku"`
	Quantity *int   `json:"quantity"`
	Total    *int64 `json:"total"`
	Status   string `json:"status"`
}

func (o *order) valid() bool {
	for _, text := range []string{o.ID, o.Customer, o.Country, o.SKU} {
		if !name.MatchString(text) {
			return false
		}
	}
	return o.Quantity != nil && *o.Quantity >= 1 && *o.Quantity <= 100 && o.Total != nil && *o.Total >= 0
}

type notice struct {
	To     string `json:"to"`
	Status string `json:"status"`
	Text   string `json:"text"`
}

type notifications struct {
	dapr.Client
}

func (n *notifications) save(ctx context.Context, key string, value any, options ...dapr.StateOption) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return n.SaveState(ctx, store, key, data, nil, options...)
}

// tell saves a notice, once for each order: the mail would be sent by whoever saved it.
func (n *notifications) tell(ctx context.Context, e *common.TopicEvent) (retry bool, err error) {
	var o order
	if json.Unmarshal(e.RawData, &o) != nil || !o.valid() {
		// The SDK's service knows no dead letter topic, but this is where dead letters end anyway.
		return n.keep(ctx, e)
	}
	text := "We could not fulfil your order; nothing was charged."
	if o.Status == "confirmed" {
		text = "Your parcel is on its way."
	}
	err = n.save(ctx, "notice/"+o.ID, notice{o.Customer, o.Status, text},
		dapr.WithConcurrency(dapr.StateConcurrencyFirstWrite))
	if status.Code(err) == codes.Aborted { // it's there already
		err = nil
	}
	return complain(err, "the notice of order "+o.ID)
}

// keep puts an event aside as it came, for a person to look at.
func (n *notifications) keep(ctx context.Context, e *common.TopicEvent) (retry bool, err error) {
	return complain(n.save(ctx, "dead/"+e.ID, e), "the dead letter "+e.ID)
}

// complain lets an event that wasn't kept come again.
func complain(err error, what string) (bool, error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "notifications: %s isn't saved: %v\n", what, err)
	}
	return err != nil, err
}

func run() error {
	client, err := dapr.NewClient()
	if err != nil {
		return err
	}
	defer client.Close()
	service, err := daprgrpc.NewService("127.0.0.1:" + os.Getenv("APP_PORT"))
	if err != nil {
		return err
	}
	n := &notifications{client}
	for topic, handler := range map[string]common.TopicEventHandler{"orders.finished": n.tell, "orders.dead": n.keep} {
		subscription := &common.Subscription{PubsubName: bus, Topic: topic}
		if err := service.AddTopicEventHandler(subscription, handler); err != nil {
			return err
		}
	}
	return service.Start()
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
