// The app of the Go suite: APP_PROTOCOL says which of the SDK's two services it uses.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strings"
	"sync"

	"github.com/dapr/go-sdk/service/common"
	daprgrpc "github.com/dapr/go-sdk/service/grpc"
	daprhttp "github.com/dapr/go-sdk/service/http"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type event struct {
	Pubsub string `json:"pubsub"`
	Topic  string `json:"topic"`
	Route  string `json:"route"`
	Data   any    `json:"data"`
}

type app struct {
	common.Service
	overGRPC bool

	mutex    sync.Mutex
	received []event
	seen     map[string]bool
}

func (a *app) add(e event) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.received = append(a.received, e)
}

// note keeps what comes, and answers what it was told to. A dead letter keeps the topic that it had.
func (a *app) note(topic, route string, retry bool, answer error) common.TopicEventHandler {
	return func(_ context.Context, e *common.TopicEvent) (bool, error) {
		data := e.Data
		if bytes, ok := data.([]byte); ok {
			data = string(bytes)
		}
		a.add(event{e.PubsubName, topic, route, data})
		return retry, answer
	}
}

// atSecondTry refuses each event once.
func (a *app) atSecondTry(ctx context.Context, e *common.TopicEvent) (bool, error) {
	if _, err := a.note("again", "", false, nil)(ctx, e); err != nil {
		return false, err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.seen[e.ID] {
		return false, nil
	}
	a.seen[e.ID] = true
	return true, errors.New("not yet")
}

// declared handles events of a subscription that a resource makes: the service has no place for one.
func (a *app) declared(pubsub, topic, answer string) common.ServiceInvocationHandler {
	return func(_ context.Context, in *common.InvocationEvent) (*common.Content, error) {
		var e common.TopicEvent
		if err := json.Unmarshal(in.Data, &e); err != nil {
			return nil, err
		}
		a.add(event{pubsub, topic, "", e.Data})
		return &common.Content{ContentType: "application/json", Data: []byte(answer)}, nil
	}
}

func (a *app) subscribe(pubsub string) {
	on := func(topic, route string, more common.Subscription, handler common.TopicEventHandler) {
		more.PubsubName, more.Topic, more.Route = pubsub, topic, "/"+route+"-of-"+pubsub
		must(a.AddTopicEventHandler(&more, handler))
	}
	on("plain", "plain", common.Subscription{}, a.note("plain", "", false, nil))
	raw := common.Subscription{Metadata: map[string]string{"rawPayload": "true"}}
	on("raw", "raw", raw, a.note("raw", "", false, nil))
	on("again", "again", common.Subscription{}, a.atSecondTry)
	on("dead", "dead", common.Subscription{}, a.note("dead", "", false, nil))
	on("routed", "other", common.Subscription{}, a.note("routed", "other", false, nil))
	important := common.Subscription{Match: `event.type == "important"`, Priority: 1}
	on("routed", "important", important, a.note("routed", "important", false, nil))
	if a.overGRPC {
		on("doomed", "doomed", common.Subscription{}, a.note("doomed", "", false, errors.New("never")))
		return
	}
	for topic, answer := range map[string]string{"declared": `{}`, "doomed": `{"status":"DROP"}`} {
		must(a.AddServiceInvocationHandler("/"+topic+"-"+pubsub, a.declared(pubsub, topic, answer)))
	}
}

func (a *app) listen() {
	answer := func(v any) (*common.Content, error) {
		data, err := json.Marshal(v)
		return &common.Content{ContentType: "application/json", Data: data}, err
	}
	must(a.AddServiceInvocationHandler("/received", func(context.Context, *common.InvocationEvent) (*common.Content, error) {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		return answer(a.received)
	}))
	must(a.AddServiceInvocationHandler("/echo", func(_ context.Context, in *common.InvocationEvent) (*common.Content, error) {
		return &common.Content{ContentType: in.ContentType, Data: in.Data}, nil
	}))
	must(a.AddServiceInvocationHandler("/query", func(_ context.Context, in *common.InvocationEvent) (*common.Content, error) {
		return answer(map[string]string{"query": in.QueryString, "verb": in.Verb})
	}))
	must(a.AddServiceInvocationHandler("/headers", func(ctx context.Context, _ *common.InvocationEvent) (*common.Content, error) {
		headers, _ := metadata.FromIncomingContext(ctx)
		return answer(headers)
	}))
	must(a.AddServiceInvocationHandler("/refuse", func(context.Context, *common.InvocationEvent) (*common.Content, error) {
		return nil, status.Error(codes.PermissionDenied, "not yours")
	}))
	must(a.AddBindingInvocationHandler("tick", func(context.Context, *common.BindingEvent) ([]byte, error) {
		a.add(event{Topic: "tick"})
		return nil, nil
	}))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	address := "127.0.0.1:" + os.Getenv("APP_PORT")
	a := &app{overGRPC: os.Getenv("APP_PROTOCOL") == "grpc", seen: map[string]bool{}}
	if a.overGRPC {
		service, err := daprgrpc.NewService(address)
		must(err)
		a.Service = service
	} else {
		a.Service = daprhttp.NewService(address)
	}
	for _, pubsub := range strings.Split(os.Getenv("PUBSUBS"), ",") {
		a.subscribe(pubsub)
	}
	a.listen()
	must(a.Start())
}
