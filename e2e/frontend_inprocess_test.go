package e2e

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"

	"dockerauth/config"
	"dockerauth/gateway"
	"dockerauth/pamauth"
	"dockerauth/service"
)

// inProcess is the service inside the test binary: a failure only here is due to how the service is
// assembled, not to a web server.
var inProcess = frontend{
	name: "in process",
	open: func(t testing.TB, s *testEnv) {
		cfg, err := config.Load(s.configFile)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		log := slog.New(slog.NewJSONHandler(file, nil))
		s.listen()
		l, err := net.Listen("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		conversation := pamauth.Deadline(cfg.PAM.Timeout, &pamauth.Child{Stack: service.Stack(cfg)})
		go func() {
			h := service.NewHandler(cfg, conversation, nil, log)
			done <- gateway.ServeHTTP(ctx, l, h, gateway.Options{Log: log})
		}()
		t.Cleanup(func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("stop serving: %v", err)
			}
		})
		s.mounts = []string{"", "/any/folder"}
		s.homes = []string{"/"}
	},
	ownAnswers: netHTTPAnswers,
}
