package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// adminGet asks the admin listener, at a TCP address or a unix socket.
func adminGet(t *testing.T, address, path string) (status int, text string) {
	t.Helper()
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}}
	answer, err := client.Get("http://admin" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestTheAdminListenerServesMetricsAndHealth(t *testing.T) {
	for _, where := range []string{"tcp", "unix"} {
		t.Run(where, func(t *testing.T) {
			program, config := install(t, goodConfig)
			address := freeAddress(t)
			spec := address
			if where == "unix" {
				dir, err := os.MkdirTemp("", "da") // t.TempDir is too long for a socket
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(dir) })
				address = filepath.Join(dir, "s")
				spec = "unix:" + address
			}
			url, _, cmd := serveWith(t, program, []string{"--admin", spec})
			if status, body := requestToken(t, url); status != http.StatusOK {
				t.Fatalf("status %d: %v", status, body)
			}
			until(t, "the login is counted", func() bool {
				status, page := adminGet(t, address, "/metrics")
				return status == http.StatusOK &&
					strings.Contains(page, `dockerauth_requests_total{outcome="granted"} 1`+"\n")
			})
			health := func() (status int, state any) {
				var h map[string]any
				status, text := adminGet(t, address, "/healthz")
				if err := json.Unmarshal([]byte(text), &h); err != nil {
					t.Fatalf("%v: %s", err, text)
				}
				return status, h["status"]
			}
			if status, state := health(); status != http.StatusOK || state != "ok" {
				t.Errorf("health: %d, %v", status, state)
			}
			write(t, config, "isuer: typo\n")
			until(t, "it is degraded", func() bool {
				status, state := health()
				return status == http.StatusOK && state == "degraded"
			})
			write(t, config, goodConfig)
			until(t, "it is ok again and has kept its counters", func() bool {
				_, state := health()
				_, page := adminGet(t, address, "/metrics")
				return state == "ok" && strings.Contains(page, `dockerauth_requests_total{outcome="granted"} 1`+"\n")
			})
			silent, err := net.Dial(map[bool]string{true: "unix", false: "tcp"}[where == "unix"], address)
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close() // it must not block the shutdown
			terminate(t, cmd)
			if _, err := os.Stat(address); where == "unix" && err == nil {
				t.Error("the socket is left over")
			}
		})
	}
}

func TestAnAdminAddressThatIsTakenEndsTheStart(t *testing.T) {
	program, config := install(t, goodConfig)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket := filepath.Join(t.TempDir(), "s")
	got := runProgram(t, program, nil, "fastcgi", "--config", config, "--listen", "unix:"+socket, "--admin",
		l.Addr().String())
	if got.status != 1 || !strings.Contains(got.stderr, "--admin: listen on") ||
		!strings.Contains(got.stderr, "address already in use") {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Error("the service's own socket is left over")
	}
}

// Idle connections up to the limit do not block a probe or a login.
func TestIdleConnectionsDoNotBlockTheAdminListener(t *testing.T) {
	program, _ := install(t, goodConfig)
	address := freeAddress(t)
	url, _, _ := serveWith(t, program, []string{"--admin", address})
	for range 64 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if status, text := adminGet(t, address, "/healthz"); status != http.StatusOK {
		t.Errorf("status %d: %s", status, text)
	}
	if status, body := requestToken(t, url); status != http.StatusOK {
		t.Errorf("status %d: %v", status, body)
	}
}

func TestASocketOnStandardInputHasNoAdminListener(t *testing.T) {
	program, config := install(t, goodConfig)
	socket, _ := listeningSocket(t)
	cmd := exec.Command(program, "fastcgi", "--config", config, "--admin", "127.0.0.1:0")
	cmd.Stdin = socket
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 ||
		!strings.Contains(string(output), "--admin cannot be had on a FastCGI socket") {
		t.Errorf("%v: %s", err, output)
	}
}
