// The Go SDK's client. ../test_sdk.py starts what it talks to.
package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const wait = 20 * time.Second

var (
	client    dapr.Client
	token     string
	ctx       = context.Background()
	appIsGRPC = os.Getenv("APP_PROTOCOL") == "grpc"
)

func TestMain(m *testing.M) {
	// With a token the SDK sends no other metadata; caller asks for none.
	token = os.Getenv("DAPR_API_TOKEN")
	os.Unsetenv("DAPR_API_TOKEN")
	var err error
	if client, err = dapr.NewClient(); err != nil {
		panic(err)
	}
	if err = client.Wait(ctx, wait); err != nil {
		panic(err)
	}
	code := m.Run()
	client.Close()
	os.Exit(code)
}

// ---- help ----

func each(t *testing.T, variable string, test func(t *testing.T, name string)) {
	t.Helper()
	for _, name := range strings.FieldsFunc(os.Getenv(variable), func(r rune) bool { return r == ',' }) {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

func key(text string) string {
	return "go-" + os.Getenv("APP_PROTOCOL") + "-" + text
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func failsWith(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if code := codeOf(err); code != want {
		t.Fatalf("code %v, want %v: %v", code, want, err)
	}
}

// codeOf looks through what the SDK has wrapped.
func codeOf(err error) codes.Code {
	for ; err != nil; err = unwrap(err) {
		if s, is := err.(interface{ GRPCStatus() *status.Status }); is {
			return s.GRPCStatus().Code()
		}
	}
	return codes.OK
}

func unwrap(err error) error {
	if w, is := err.(interface{ Unwrap() error }); is {
		return w.Unwrap()
	}
	return nil
}

func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", wait, what)
		}
	}
}

type event struct {
	Pubsub, Topic, Route string
	Data                 any
}

func received(t *testing.T, pubsub, topic string, data any) (found []event) {
	t.Helper()
	text, err := client.InvokeMethod(ctx, "callee", "received", "get")
	ok(t, err)
	var all []event
	ok(t, json.Unmarshal(text, &all))
	for _, e := range all {
		if e.Pubsub == pubsub && e.Topic == topic && reflect.DeepEqual(e.Data, data) {
			found = append(found, e)
		}
	}
	return found
}

func arrives(t *testing.T, pubsub, topic string, data any) (found []event) {
	t.Helper()
	until(t, fmt.Sprintf("%v in %s of %s", data, topic, pubsub), func() bool {
		found = received(t, pubsub, topic, data)
		return len(found) > 0
	})
	return found
}

// ---- invocation ----

func TestBodyComesBack(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	content := &dapr.DataContent{Data: every, ContentType: "application/octet-stream"}
	got, err := client.InvokeMethodWithContent(ctx, "callee", "echo", "post", content)
	ok(t, err)
	equal(t, got, every)
}

func TestQueryAndVerbReachTheApp(t *testing.T) {
	text, err := client.InvokeMethod(ctx, "callee", "query?a=1&b=x%20y", "put")
	ok(t, err)
	var got map[string]string
	ok(t, json.Unmarshal(text, &got))
	equal(t, got, map[string]string{"query": "a=1&b=x%20y", "verb": "PUT"})
}

func TestHeaderReachesTheApp(t *testing.T) {
	text, err := client.InvokeMethod(metadata.AppendToOutgoingContext(ctx, "x-test", "here"), "callee", "headers", "get")
	ok(t, err)
	var got map[string][]string
	ok(t, json.Unmarshal(text, &got))
	equal(t, got["x-test"], []string{"here"})
	equal(t, got["dapr-caller-app-id"], []string{"caller"})
	equal(t, got["dapr-api-token"], []string{"app-token"})
}

func TestRefusalComesBack(t *testing.T) {
	_, err := client.InvokeMethod(ctx, "callee", "refuse", "get")
	if appIsGRPC {
		failsWith(t, err, codes.PermissionDenied)
	} else {
		failsWith(t, err, codes.Unknown) // the SDK's HTTP service answers 500
	}
	if !strings.Contains(err.Error(), "not yours") && appIsGRPC {
		t.Fatal(err)
	}
}

func TestUnknownAppIsAnError(t *testing.T) {
	if _, err := client.InvokeMethod(ctx, "nobody", "echo", "get"); err == nil {
		t.Fatal("no error")
	}
}

// ---- state ----

func get(t *testing.T, store, key string) *dapr.StateItem {
	t.Helper()
	item, err := client.GetState(ctx, store, key, nil)
	ok(t, err)
	return item
}

func TestStateIsSavedReadAndDeleted(t *testing.T) {
	each(t, "STATES", func(t *testing.T, store string) {
		a, b, none := key("a"), key("b"), key("none")
		ok(t, client.SaveState(ctx, store, a, []byte("text"), nil))
		ok(t, client.SaveBulkState(ctx, store, &dapr.SetStateItem{Key: b, Value: []byte{0, 1, 255}}))
		equal(t, string(get(t, store, a).Value), "text")
		items, err := client.GetBulkState(ctx, store, []string{a, b, none}, nil, 10)
		ok(t, err)
		got := map[string]string{}
		for _, item := range items {
			got[item.Key] = string(item.Value)
		}
		equal(t, got, map[string]string{a: "text", b: "\x00\x01\xff", none: ""})
		ok(t, client.DeleteState(ctx, store, a, nil))
		ok(t, client.DeleteBulkState(ctx, store, []string{b}, nil))
		equal(t, len(get(t, store, a).Value)+len(get(t, store, b).Value), 0)
	})
}

func TestStaleETagConflicts(t *testing.T) {
	each(t, "STATES", func(t *testing.T, store string) {
		k := key("etag")
		ok(t, client.SaveState(ctx, store, k, []byte("1"), nil))
		etag := get(t, store, k).Etag
		firstWrite := dapr.WithConcurrency(dapr.StateConcurrencyFirstWrite)
		ok(t, client.SaveStateWithETag(ctx, store, k, []byte("2"), etag, nil, firstWrite))
		failsWith(t, client.SaveStateWithETag(ctx, store, k, []byte("3"), etag, nil, firstWrite), codes.Aborted)
		options := &dapr.StateOptions{Concurrency: dapr.StateConcurrencyFirstWrite}
		failsWith(t, client.DeleteStateWithETag(ctx, store, k, &dapr.ETag{Value: etag}, nil, options), codes.Aborted)
		equal(t, string(get(t, store, k).Value), "2")
	})
}

func TestTransactionIsDoneWhole(t *testing.T) {
	each(t, "STATES", func(t *testing.T, store string) {
		old, fresh := key("old"), key("fresh")
		ok(t, client.SaveState(ctx, store, old, []byte("x"), nil))
		ok(t, client.ExecuteStateTransaction(ctx, store, nil, []*dapr.StateOperation{
			{Type: dapr.StateOperationTypeUpsert, Item: &dapr.SetStateItem{Key: fresh, Value: []byte("1")}},
			{Type: dapr.StateOperationTypeDelete, Item: &dapr.SetStateItem{Key: old}},
		}))
		equal(t, string(get(t, store, fresh).Value), "1")
		equal(t, len(get(t, store, old).Value), 0)
	})
}

func TestStateLivesAsLongAsItsTTLSays(t *testing.T) {
	each(t, "STATES", func(t *testing.T, store string) {
		k, lasting := key("ttl"), key("lasting")
		ok(t, client.SaveState(ctx, store, k, []byte("x"), map[string]string{"ttlInSeconds": "1"})) // of a clock of whole seconds
		ok(t, client.SaveState(ctx, store, lasting, []byte("x"), map[string]string{"ttlInSeconds": "600"}))
		equal(t, string(get(t, store, lasting).Value), "x")
		until(t, "it has expired", func() bool { return len(get(t, store, k).Value) == 0 })
	})
}

func TestUnknownStoreIsAnError(t *testing.T) {
	failsWith(t, client.SaveState(ctx, "nowhere", "k", []byte("v"), nil), codes.InvalidArgument)
}

// ---- events ----

func TestObjectAndTextArriveOnce(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		object := map[string]any{"id": key("object")}
		ok(t, client.PublishEvent(ctx, pubsub, "plain", object))
		ok(t, client.PublishEvent(ctx, pubsub, "plain", key("text"), dapr.PublishEventWithContentType("text/plain")))
		arrives(t, pubsub, "plain", key("text"))
		equal(t, len(arrives(t, pubsub, "plain", object)), 1)
	})
}

func TestRawEventArrives(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		ok(t, client.PublishEvent(ctx, pubsub, "raw", key("raw"), dapr.PublishEventWithRawPayload()))
		arrives(t, pubsub, "raw", key("raw"))
	})
}

func TestRulesOfTheRouteDecide(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		text := dapr.PublishEventWithContentType("text/plain")
		important := dapr.PublishEventWithMetadata(map[string]string{"cloudevent.type": "important"})
		ok(t, client.PublishEvent(ctx, pubsub, "routed", key("urgent"), text, important))
		ok(t, client.PublishEvent(ctx, pubsub, "routed", key("idle"), text))
		equal(t, arrives(t, pubsub, "routed", key("urgent"))[0].Route, "important")
		equal(t, arrives(t, pubsub, "routed", key("idle"))[0].Route, "other")
	})
}

func TestRetryBringsItAgain(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		ok(t, client.PublishEvent(ctx, pubsub, "again", key("again"), dapr.PublishEventWithContentType("text/plain")))
		until(t, "the second delivery", func() bool { return len(received(t, pubsub, "again", key("again"))) == 2 })
	})
}

// The SDK's services know no dead letter topic: over HTTP a resource names it, over gRPC there is none.
func TestDropIsTheEndOfIt(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		text := dapr.PublishEventWithContentType("text/plain")
		ok(t, client.PublishEvent(ctx, pubsub, "doomed", key("doomed"), text))
		if !appIsGRPC {
			arrives(t, pubsub, "dead", key("doomed"))
		}
		equal(t, len(arrives(t, pubsub, "doomed", key("doomed"))), 1)
	})
}

func TestManyAtOnceArrive(t *testing.T) {
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		var texts []any
		for i := 0; i < 20; i++ {
			texts = append(texts, key(fmt.Sprint("many-", i)))
		}
		ok(t, client.PublishEvents(ctx, pubsub, "plain", texts).Error)
		for _, text := range texts {
			equal(t, len(arrives(t, pubsub, "plain", text)), 1)
		}
	})
}

func TestSubscriptionOfAFileWorks(t *testing.T) {
	if appIsGRPC {
		t.Skip("the SDK's gRPC service has no handler for a topic of a file")
	}
	each(t, "PUBSUBS", func(t *testing.T, pubsub string) {
		object := map[string]any{"id": key("declared")}
		ok(t, client.PublishEvent(ctx, pubsub, "declared", object))
		arrives(t, pubsub, "declared", object)
	})
}

func TestUnknownBrokerIsAnError(t *testing.T) {
	failsWith(t, client.PublishEvent(ctx, "nowhere", "t", "x"), codes.InvalidArgument)
	if client.PublishEvents(ctx, "nowhere", "t", []any{"x"}).Error == nil {
		t.Fatal("no error")
	}
}

// ---- other blocks ----

func TestSecretsAreRead(t *testing.T) {
	secret, err := client.GetSecret(ctx, "secrets", "plain", nil)
	ok(t, err)
	equal(t, secret, map[string]string{"plain": "a plain secret"})
	all, err := client.GetBulkSecret(ctx, "secrets", nil)
	ok(t, err)
	equal(t, all["db:password"], map[string]string{"db:password": "hush"})
	if _, err = client.GetSecret(ctx, "secrets", "none", nil); err == nil {
		t.Fatal("no error")
	}
}

func TestOutputBindingIsCalled(t *testing.T) {
	request := &dapr.InvokeBindingRequest{Name: "outside", Operation: "post", Data: []byte(`{"n":1}`),
		Metadata: map[string]string{"path": "/echo"}}
	answer, err := client.InvokeBinding(ctx, request)
	ok(t, err)
	equal(t, string(answer.Data), `{"n":1}`)
	equal(t, answer.Metadata["statusCode"], "200")
	request.Operation = "dance"
	if client.InvokeOutputBinding(ctx, request) == nil {
		t.Fatal("no error")
	}
}

func TestInputBindingCallsTheApp(t *testing.T) {
	until(t, "a tick", func() bool { return len(received(t, "", "tick", nil)) > 0 })
}

func TestLockHasOneOwner(t *testing.T) {
	each(t, "LOCKS", func(t *testing.T, store string) {
		door := key("door")
		lock := func(owner string) bool {
			got, err := client.TryLockAlpha1(ctx, store, &dapr.LockRequest{LockOwner: owner, ResourceID: door, ExpiryInSeconds: 60})
			ok(t, err)
			return got.Success
		}
		unlock := func(owner string) string {
			got, err := client.UnlockAlpha1(ctx, store, &dapr.UnlockRequest{LockOwner: owner, ResourceID: door})
			ok(t, err)
			return got.Status
		}
		equal(t, []bool{lock("ada"), lock("bob")}, []bool{true, false})
		equal(t, []string{unlock("bob"), unlock("ada"), unlock("ada")},
			[]string{"LOCK_BELONGS_TO_OTHERS", "SUCCESS", "LOCK_DOES_NOT_EXIST"})
	})
}

func change(t *testing.T, store, key, value string) {
	t.Helper()
	data, err := json.Marshal(map[string]string{"store": store, "key": key, "value": value})
	ok(t, err)
	ok(t, client.InvokeOutputBinding(ctx, &dapr.InvokeBindingRequest{Name: "outside", Operation: "post",
		Data: data, Metadata: map[string]string{"path": "/change"}}))
}

func TestConfigurationIsReadAndWatched(t *testing.T) {
	each(t, "CONFIGS", func(t *testing.T, store string) {
		name := key("colour")
		change(t, store, name, "red")
		item, err := client.GetConfigurationItem(ctx, store, name)
		ok(t, err)
		equal(t, item.Value, "red")

		updates := make(chan string, 100)
		id, err := client.SubscribeConfigurationItems(ctx, store, []string{name},
			func(_ string, items map[string]*dapr.ConfigurationItem) {
				if items[name] != nil {
					updates <- items[name].Value
				}
			})
		ok(t, err)
		change(t, store, name, "green")
		select {
		case value := <-updates:
			equal(t, value, "green")
		case <-time.After(wait):
			t.Fatal("the change wasn't seen")
		}
		ok(t, client.UnsubscribeConfigurationItems(ctx, store, id))
	})
}

func TestWhatIsEncryptedIsDecrypted(t *testing.T) {
	each(t, "CRYPTO", func(t *testing.T, component string) {
		for name, wrap := range map[string]string{"rsa": "RSA", "aes": "A256KW"} {
			data := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
			read := func(r io.Reader, err error) []byte {
				ok(t, err)
				all, err := io.ReadAll(r)
				ok(t, err)
				return all
			}
			sealed := read(client.Encrypt(ctx, bytes.NewReader(data), dapr.EncryptOptions{
				ComponentName: component, KeyName: name, KeyWrapAlgorithm: wrap}))
			if bytes.Contains(sealed, data[:16]) {
				t.Fatal("it is readable")
			}
			options := dapr.DecryptOptions{ComponentName: component}
			if !bytes.Equal(read(client.Decrypt(ctx, bytes.NewReader(sealed), options)), data) {
				t.Fatal("it isn't the same")
			}
			sealed[len(sealed)-1] ^= 1
			opened, err := client.Decrypt(ctx, bytes.NewReader(sealed), options)
			if err == nil {
				_, err = io.ReadAll(opened)
			}
			if err == nil {
				t.Fatal("what was changed is decrypted")
			}
		}
	})
}

func TestSidecarIsShutDown(t *testing.T) {
	spare, err := dapr.NewClientWithPort(os.Getenv("SPARE_GRPC_PORT"))
	ok(t, err)
	defer spare.Close()
	spare.WithAuthToken(token)
	ok(t, spare.Shutdown(ctx))
}
