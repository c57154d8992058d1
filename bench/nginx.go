package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// nginxServer is Debian's nginx, which sends the files of a directory with
// sendfile(2): what this machine can do with files over HTTP.
type nginxServer struct {
	*caller
	dir string // where the files are
}

// nginxConf is Debian's own in what matters here: as many workers as cores,
// sendfile, and a line in the log for each request, which our server writes
// too. Connections stay open for as long as clients keep them, as ours do.
const nginxConf = `%sworker_processes auto;
pid nginx.pid;
error_log error.log;
events { worker_connections 768; }
http {
	sendfile on;
	tcp_nopush on;
	types_hash_max_size 2048;
	keepalive_requests 1000000000;
	types { image/jpeg jpg; }
	access_log access.log;
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	server {
		listen 127.0.0.1:%d;
		root files;
	}
}
`

// nginx starts nginx once.
func (b *bench) nginx(ctx context.Context) (*nginxServer, error) {
	return b.files.get(func() (*nginxServer, error) {
		program, err := findNginx()
		if err != nil {
			return nil, err
		}
		prefix := filepath.Join(b.dir, "nginx")
		n := &nginxServer{dir: filepath.Join(prefix, "files")}
		if err := os.MkdirAll(n.dir, 0o711); err != nil {
			return nil, fmt.Errorf("make directory of nginx: %w", err)
		}
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		user := ""
		if os.Getuid() == 0 { // else its workers become nobody, who may not read here
			user = "user root;\n"
		}
		conf := filepath.Join(prefix, "nginx.conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, user, port), 0o600); err != nil {
			return nil, fmt.Errorf("write configuration of nginx: %w", err)
		}
		p, err := b.start(ctx, program, nil, "-p", prefix, "-c", conf, "-g", "daemon off;")
		if err != nil {
			return nil, err
		}
		b.onClose(p.stop)
		n.caller = newClient("http://127.0.0.1:" + strconv.Itoa(port))
		if err := n.hold("ready", nil); err != nil {
			return nil, err
		}
		return n, n.await(ctx, "/ready")
	})
}

// hold gives nginx a file.
func (n *nginxServer) hold(name string, content []byte) error {
	if err := os.WriteFile(filepath.Join(n.dir, name), content, 0o600); err != nil {
		return fmt.Errorf("give nginx a file: %w", err)
	}
	return nil
}

// version returns what nginx says of itself, such as "nginx/1.22.1".
func (n *nginxServer) version(ctx context.Context) (string, error) {
	program, err := findNginx()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, program, "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask nginx for its version: %w", err)
	}
	_, text, _ := strings.Cut(strings.TrimSpace(string(out)), ": ")
	return text, nil
}

// findNginx also looks where Debian puts it, which is on root's path alone.
func findNginx() (string, error) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", fmt.Errorf("nginx is not installed: tools/ensure.sh nginx")
}

// freePort returns a port of the loopback interface that was free just now.
func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	address, _ := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	return address.Port, nil
}
