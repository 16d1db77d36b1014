package service

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dockerauth/cli"
	"dockerauth/metrics"
)

// writeMetrics is the answer to /metrics. docs/operations.md has the same list, which a test
// compares.
func writeMetrics(r *reloader, now time.Time) []byte {
	var p metrics.Page
	m, h := r.metrics, checkHealth(r, now)
	p.Counts("dockerauth_requests_total", "Token requests, by the outcome that the log has.", "outcome", m.requests)
	p.Histogram("dockerauth_request_duration_seconds",
		"How long token requests took; refused passwords are held back to a whole second.", m.requestDuration)
	p.Counts("dockerauth_pam_conversations_total",
		"PAM conversations by result; busy ones did not begin in time, abandoned ones lost their client while they "+
			"waited.",
		"result", m.conversations)
	p.Gauge("dockerauth_pam_queue_length", "Logins that wait for a PAM conversation now.",
		float64(m.queueLength.Load()))
	p.Histogram("dockerauth_pam_queue_wait_seconds",
		"How long logins waited for a PAM conversation, or until they gave up.", m.queueWait)
	p.Counter("dockerauth_pam_cache_hits_total",
		"Logins that were answered without asking PAM, since it had let them in a moment ago.", m.cacheHits.Load())
	p.Counter("dockerauth_log_dropped_total", "Lines that could not be written to the log.", m.droppedLines.Load())
	p.Gauge("dockerauth_ready", "Whether logins can be answered, as /healthz says.", truth(h.serving))
	p.Gauge("dockerauth_config_last_load_successful",
		"Whether the configuration was usable when it was last read.", truth(h.Config.Good))
	if h.Config.Loaded != nil {
		p.Gauge("dockerauth_config_last_reload_timestamp_seconds",
			"When the configuration in force was loaded.", unixSeconds(*h.Config.Loaded))
	}
	if h.Key != nil {
		p.Gauge("dockerauth_key_info", "The signing key.", 1, "algorithm", h.Key.Algorithm, "id", h.Key.ID)
	}
	if h.Key != nil && h.Key.NotAfter != nil {
		p.Gauge("dockerauth_certificate_expiry_timestamp_seconds",
			"When the key's certificate ends, or the first that it is sent with.", unixSeconds(*h.Key.NotAfter))
	}
	p.Gauge("dockerauth_build_info", "The version of the program.", 1, "version", cli.Version())
	writeProcessMetrics(&p, m.started)
	return p.Bytes()
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// writeProcessMetrics uses the names of every exporter. What cannot be read is left out.
func writeProcessMetrics(p *metrics.Page, started time.Time) {
	p.Gauge("process_start_time_seconds", "When the process started.", unixSeconds(started))
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(statm)); len(fields) > 1 {
			if pages, err := strconv.ParseFloat(fields[1], 64); err == nil {
				p.Gauge("process_resident_memory_bytes", "Memory of the process, without its PAM conversations.",
					pages*float64(os.Getpagesize()))
			}
		}
	}
	if n, err := openFiles(); err == nil {
		p.Gauge("process_open_fds", "Open files and connections.", float64(n))
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		p.Gauge("process_max_fds", "How many there may be.", float64(limit.Cur))
	}
}

func openFiles() (int, error) {
	folder, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	return len(names) - 1, err // less the folder itself
}
