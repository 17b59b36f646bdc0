// The real istiod's discovery server over a folder of YAML, without a cluster:
// the judge of our own control plane.
//
// It serves plaintext ADS, takes what an API server would hold from DIR/*.yaml
// and DIR/.status/*.yaml, and its mesh configuration from DIR/mesh.yaml. Its
// defaults are those that let a stock Envoy, which lacks Istio's extensions,
// accept everything.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/testing"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/log"
)

// Istio's packages read these while they are initialised, so they must be
// there before main.
var environment = map[string]string{
	"PILOT_ENABLE_METADATA_EXCHANGE": "false",
	"PILOT_ENABLE_ALPN_FILTER":       "false",
	"PILOT_ENABLE_TELEMETRY_LABEL":   "false",
	"PILOT_DISABLE_MX_ALPN":          "true",
}

func main() {
	dir := flag.String("dir", "", "folder of the YAML files")
	addr := flag.String("addr", "127.0.0.1:0", "address to serve ADS at; port 0 takes a free one")
	mtls := flag.Bool("mtls", false, "without the PeerAuthentication DISABLE for the whole mesh")
	stock := flag.Bool("stock", false, "with Istio's own extensions, as istiod is installed")
	debounce := flag.Duration("debounce", 0, "how long a change waits for more; istiod's own default is 100ms")
	level := flag.String("log", "error", "log level of istiod: none, error, warn, info, debug")
	check := flag.Bool("check", false, "print what is refused, then exit")
	verdicts := flag.Bool("verdicts", false, "print Istio's verdict on every document of the files named on standard input")
	analyze := flag.Bool("analyze", false, "print what istioctl's analyzers find in the cases on standard input")
	schema := flag.String("schema", "", "print the messages of `istio` objects, or those of envoy")
	flag.Parse()
	switch {
	case *verdicts:
		logAt("none")
		printVerdicts(os.Stdin, os.Stdout)
		return
	case *analyze:
		logAt("none")
		printFindings(os.Stdin, os.Stdout)
		return
	case *schema != "":
		printSchema(os.Stdout, *schema == "istio")
		return
	}
	if *dir == "" || flag.NArg() > 0 {
		fail("usage: istiod --dir DIR [--addr 127.0.0.1:PORT] [--mtls] [--stock] [--debounce TIME] [--log LEVEL] [--check]")
	}
	if !*stock {
		withEnvironment()
	}
	logAt(*level)

	objects, refused, err := readFolder(*dir)
	if err != nil {
		fail("%v", err)
	}
	report(refused)
	if *check {
		return
	}
	server := start(*dir, *addr, *stock, *mtls, *debounce, objects)
	fmt.Println("listening", server.discovery.Listener.Addr())
	server.follow()
}

// withEnvironment starts this program again if its environment is not right.
func withEnvironment() {
	changed := false
	for name, value := range environment {
		if os.Getenv(name) != value {
			changed = true
			if err := os.Setenv(name, value); err != nil {
				fail("%s: %v", name, err)
			}
		}
	}
	if !changed {
		return
	}
	program, err := os.Executable()
	if err == nil {
		err = syscall.Exec(program, os.Args, os.Environ())
	}
	fail("start again: %v", err)
}

// server is the running control plane and what it was given.
type server struct {
	dir       string
	discovery *xds.FakeDiscoveryServer
	objects   map[key]object
	mutex     sync.Mutex
}

func start(dir, addr string, stock, mtls bool, debounce time.Duration, objects []object) *server {
	options := xds.FakeOptions{
		MeshConfig:                 meshConfig(dir, stock),
		DisableSecretAuthorization: true,
		DebounceTime:               debounce,
		ListenerBuilder:            func() (net.Listener, error) { return net.Listen("tcp", addr) },
		KubeClientModifier:         withGatewayAPI,
	}
	held := map[key]object{}
	if !mtls {
		objects = append([]object{plaintextMesh(options.MeshConfig.RootNamespace)}, objects...)
	}
	for _, o := range objects {
		held[o.key] = o
	}
	for _, o := range held {
		if o.istio != nil {
			options.Configs = append(options.Configs, *o.istio)
		} else {
			options.KubernetesObjects = append(options.KubernetesObjects, o.kubernetes)
		}
	}
	return &server{dir: dir, discovery: xds.NewFakeDiscoveryServer(&failer{}, options), objects: held}
}

// withGatewayAPI gives the definitions of the Gateway API the version without
// which istiod leaves GRPCRoute, TLSRoute and TCPRoute alone.
func withGatewayAPI(client kube.Client) {
	metadata, ok := client.Metadata().(*fake.FakeMetadataClient)
	if !ok {
		fail("the client of metadata is no fake one")
	}
	metadata.PrependReactor("create", "customresourcedefinitions", func(action testing.Action) (bool, runtime.Object, error) {
		definition, ok := action.(testing.CreateAction).GetObject().(metav1.Object)
		if ok && strings.HasSuffix(definition.GetName(), ".gateway.networking.k8s.io") {
			definition.SetAnnotations(map[string]string{"gateway.networking.k8s.io/bundle-version": "v1.7.0"})
		}
		return false, nil, nil
	})
}

// follow takes changes until it is stopped: SIGHUP reads the folder again, and
// so do lines on standard input, see command. Where that is a pipe, its end
// ends the server, because the test that held it is gone.
func (s *server) follow() {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			s.command("reload")
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		s.command(lines.Text())
	}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		return
	}
	select {}
}

// command runs `reload`, `apply FILE` or `delete KIND NAMESPACE NAME`, and
// answers `done LINE` when the change is in the configuration of later pushes,
// or `failed LINE: REASON`.
func (s *server) command(line string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	words := strings.Fields(line)
	var err error
	switch {
	case len(words) == 1 && words[0] == "reload":
		err = s.reload()
	case len(words) == 2 && words[0] == "apply":
		err = s.apply(words[1])
	case len(words) == 4 && words[0] == "delete":
		err = s.delete(key{kind: words[1], namespace: words[2], name: words[3]})
	case len(words) == 0:
		return
	default:
		err = fmt.Errorf("expected reload, apply FILE or delete KIND NAMESPACE NAME")
	}
	if err != nil {
		fmt.Printf("failed %s: %v\n", line, err)
		return
	}
	s.discovery.EnsureSynced(&failer{})
	fmt.Println("done", line)
}

func report(refused []string) {
	for _, line := range refused {
		fmt.Println("refused:", line)
	}
}

func logAt(level string) {
	levels := map[string]log.Level{
		"none": log.NoneLevel, "error": log.ErrorLevel, "warn": log.WarnLevel,
		"info": log.InfoLevel, "debug": log.DebugLevel,
	}
	chosen, known := levels[level]
	if !known {
		fail("--log: unknown level %q", level)
	}
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	options.SetDefaultOutputLevel(log.OverrideScopeName, chosen)
	if err := log.Configure(options); err != nil {
		fail("log: %v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
