package kubelet

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

func TestLimits(t *testing.T) {
	over := make(chan struct{})
	e := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "line\n")
		w.(http.Flusher).Flush()
		<-over
	}), func(s *Server, pods placed) {
		s.Limits = Limits{All: 4, Cluster: 2, Namespace: 3}
		pods[types.NamespacedName{Namespace: "argo", Name: "b"}] = Target{Cluster: "cluster2", Node: "stellarflow-cluster2", Streams: streamsTo(t, says("b\n"))}
	})
	client := e.apiServer()
	for range 2 {
		e.do(t.Context(), client, "GET", logOfA+"?follow=true")
	}
	if code, text := e.ask(client, "GET", logOfA); code != 429 || text != "the hub has 2 streams to pods of cluster cluster1 open, and no more are allowed at once: end some (each log that is followed is one) and try again" {
		t.Errorf("%d %s", code, text)
	}
	for range 3 { // one after the other
		if code, text := e.ask(client, "GET", "/containerLogs/argo/b/main"); code != 200 {
			t.Errorf("another cluster: %d %s", code, text)
		}
	}
	close(over)
	e.eventually("a free place", func() bool {
		code, _ := e.ask(client, "GET", logOfA)
		return code == 200
	})
}

// TestEachLimit: of everything, of a cluster and of a namespace there may be so many, and the refusal says which it is.
func TestEachLimit(t *testing.T) {
	type pod struct{ cluster, namespace string }
	for name, tc := range map[string]struct {
		limits Limits
		open   []pod
		next   pod
		says   string // empty if there is a place
	}{
		"All":              {Limits{3, 2, 2}, []pod{{"a", "x"}, {"b", "y"}, {"a", "y"}}, pod{"b", "x"}, "the hub has 3 streams to pods of other clusters open"},
		"Cluster":          {Limits{9, 2, 9}, []pod{{"a", "x"}, {"a", "y"}, {"b", "x"}}, pod{"a", "z"}, "the hub has 2 streams to pods of cluster a open"},
		"OtherCluster":     {Limits{9, 2, 9}, []pod{{"a", "x"}, {"a", "y"}, {"b", "x"}}, pod{"b", "z"}, ""},
		"Namespace":        {Limits{5, 9, 2}, []pod{{"a", "x"}, {"b", "x"}, {"a", "y"}, {"a", "z"}}, pod{"c", "x"}, "the hub has 2 streams to pods of namespace x on other clusters open"},
		"OfOneCluster":     {Limits{9, 5, 2}, []pod{{"a", "x"}, {"b", "x"}, {"a", "y"}, {"a", "y"}, {"a", "z"}}, pod{"a", "x"}, "the hub has 2 streams to pods of namespace x on other clusters open"},
		"OfAnotherCluster": {Limits{9, 5, 2}, []pod{{"a", "x"}, {"b", "x"}, {"a", "y"}, {"a", "y"}, {"a", "z"}}, pod{"b", "x"}, ""},
		"OtherNamespace":   {Limits{5, 9, 2}, []pod{{"a", "x"}, {"b", "x"}, {"a", "x"}, {"a", "y"}}, pod{"a", "y"}, ""},
		"Plenty":           {Limits{9, 9, 2}, []pod{{"a", "x"}, {"b", "x"}, {"a", "x"}}, pod{"c", "x"}, ""},
		"DefaultWide":      {DefaultLimits(), slices.Repeat([]pod{{"a", "x"}}, 199), pod{"a", "x"}, ""},
		"DefaultNamespace": {DefaultLimits(), slices.Repeat([]pod{{"a", "x"}}, 200), pod{"a", "x"}, "the hub has 200 streams to pods of namespace x on other clusters open"},
		"DefaultOthers":    {DefaultLimits(), slices.Repeat([]pod{{"a", "x"}}, 200), pod{"a", "y"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &slots{limits: tc.limits}
			var give []func()
			for _, to := range tc.open {
				release, said := s.take(clusterName(to.cluster), to.namespace, kindExec)
				if said != nil {
					t.Fatal(said)
				}
				give = append(give, release)
			}
			release, said := s.take(clusterName(tc.next.cluster), tc.next.namespace, kindLog)
			switch {
			case tc.says == "" && said != nil:
				t.Errorf("there is a place, and it is refused: %+v", said)
			case tc.says == "":
				give = append(give, release)
			case said == nil || said.code != 429 || !strings.HasPrefix(said.text, tc.says+", and no more are allowed at once: end some"):
				t.Errorf("one more: %+v, want %q", said, tc.says)
			}
			for _, release := range give {
				release()
				release() // counts once
			}
			if s.all != 0 || len(s.open) != 0 || len(s.namespaces) != 0 {
				t.Errorf("%d are left: %v %v", s.all, s.open, s.namespaces)
			}
		})
	}
}

// TestConnections: who may do nothing keeps no connection, and of those that say nothing there are no more than a few beside those of all streams.
func TestConnections(t *testing.T) {
	e := start(t, says("x"), func(s *Server, _ placed) { s.Limits = Limits{All: 2, Cluster: 2, Namespace: 2} })
	dial := func(who *tls.Certificate) (*tls.Conn, error) {
		config := &tls.Config{RootCAs: e.serving, ServerName: "127.0.0.1"}
		if who != nil {
			config.Certificates = []tls.Certificate{*who}
		}
		plain, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = plain.Close() })
		connection := tls.Client(plain, config)
		_ = connection.SetDeadline(time.Now().Add(20 * time.Second))
		return connection, connection.HandshakeContext(t.Context())
	}
	for code, who := range map[int]*tls.Certificate{401: nil, 403: person(t, e.clients, "nobody")} {
		connection, err := dial(who)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(connection, "GET "+logOfA+" HTTP/1.1\r\nHost: x\r\n\r\n")
		read := bufio.NewReader(connection)
		response, err := http.ReadResponse(read, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _ = io.Copy(io.Discard, response.Body); response.StatusCode != code || !response.Close {
			t.Errorf("%d, and the connection is to be closed: %v; want %d", response.StatusCode, response.Close, code)
		}
		_ = response.Body.Close()
		if _, err := read.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("after %d the connection is left: %v", code, err)
		}
	}
	var open []*tls.Conn
	e.eventually("room for all streams and one more", func() bool {
		connection, err := dial(nil)
		if err == nil {
			open = append(open, connection)
		}
		return len(open) == 3
	})
	waits := make(chan error, 1)
	go func() {
		_, err := dial(nil)
		waits <- err
	}()
	select {
	case err := <-waits:
		t.Fatalf("one more is accepted: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	_ = open[0].Close()
	if err := <-waits; err != nil {
		t.Errorf("it is not accepted when there is room: %v", err)
	}
}
