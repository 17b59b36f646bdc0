package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"

	meshconfig "istio.io/api/mesh/v1alpha1"
	security "istio.io/api/security/v1beta1"
	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/kube"
)

const meshFile = "mesh.yaml"

// What a stock Envoy cannot take is off.
const meshDefaults = `
enablePrometheusMerge: false
enableAutoMtls: false
defaultProviders: {metrics: []}
`

// key is the identity of an object.
type key struct{ kind, namespace, name string }

// object is one document: an Istio object or a Kubernetes one.
type object struct {
	key        key
	istio      *config.Config
	kubernetes runtime.Object
}

// readFolder reads the files that our own control plane reads too.
func readFolder(dir string) (objects []object, refused []string, err error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, nil, err
	}
	for _, pattern := range []string{"*.yaml", ".status/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, nil, err
		}
		sort.Strings(files)
		for _, file := range files {
			if filepath.Base(file) == meshFile {
				continue
			}
			some, wrong, err := readFile(file)
			if err != nil {
				return nil, nil, err
			}
			objects = append(objects, some...)
			refused = append(refused, wrong...)
		}
	}
	return objects, refused, nil
}

// readFile reads each document by itself, so that a bad one refuses no other.
// A refusal reads `FILE:DOCUMENT: REASON`, documents counted from 1.
func readFile(file string) (objects []object, refused []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for at := 1; ; at++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, refused, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", file, err)
		}
		o, err := parse(string(document))
		if err != nil {
			reason := strings.ReplaceAll(err.Error(), "\n", " ")
			refused = append(refused, fmt.Sprintf("%s:%d: %s", filepath.Base(file), at, reason))
		} else if o != nil {
			objects = append(objects, *o)
		}
	}
}

// parse reads one document; nil if there is nothing in it.
func parse(document string) (*object, error) {
	configs, others, err := crd.ParseInputs(document)
	if err != nil {
		return nil, err
	}
	// The Gateway API is read from the API server, not from the Istio store.
	if len(configs) == 1 && strings.HasSuffix(configs[0].GroupVersionKind.Group, "istio.io") {
		return istioObject(configs[0]), nil
	}
	if len(configs)+len(others) == 0 {
		return nil, nil
	}
	decoded, kind, err := kube.IstioCodec.UniversalDeserializer().Decode([]byte(document), nil, nil)
	if err != nil {
		return nil, err
	}
	meta, ok := decoded.(metav1.Object)
	if !ok {
		return nil, fmt.Errorf("%s has no metadata", kind.Kind)
	}
	if meta.GetNamespace() == "" && !clusterWide(kind.Kind) {
		meta.SetNamespace("default")
	}
	withDefaults(decoded)
	k := key{kind: kind.Kind, namespace: meta.GetNamespace(), name: meta.GetName()}
	return &object{key: k, kubernetes: decoded}, nil
}

// withDefaults writes what an API server writes and istiod relies on.
func withDefaults(o runtime.Object) {
	service, ok := o.(*corev1.Service)
	if !ok {
		return
	}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		none := intstr.IntOrString{}
		if port.TargetPort == none || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
}

func istioObject(c config.Config) *object {
	schema, known := collections.All.FindByGroupVersionKind(c.GroupVersionKind)
	if c.Namespace == "" && !(known && schema.IsClusterScoped()) {
		c.Namespace = "default"
	}
	// Short host names are completed with it.
	c.Domain = "cluster.local"
	if c.CreationTimestamp.IsZero() {
		// The same for all: then the name decides what comes first.
		c.CreationTimestamp = time.Unix(1_600_000_000, 0).UTC()
	}
	k := key{kind: c.GroupVersionKind.Kind, namespace: c.Namespace, name: c.Name}
	return &object{key: k, istio: &c}
}

func clusterWide(kind string) bool {
	switch kind {
	case "Namespace", "Node", "IngressClass", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition",
		"GatewayClass", "PersistentVolume":
		return true
	}
	return false
}

// plaintextMesh stands for the secrets that only Istio's agent would bring:
// without it, virtualInbound waits for them for ever.
func plaintextMesh(namespace string) object {
	return *istioObject(config.Config{
		Meta: config.Meta{
			GroupVersionKind: gvk.PeerAuthentication,
			Namespace:        namespace,
			Name:             "default",
		},
		Spec: &security.PeerAuthentication{
			Mtls: &security.PeerAuthentication_MutualTLS{
				Mode: security.PeerAuthentication_MutualTLS_DISABLE,
			},
		},
	})
}

func meshConfig(dir string, stock bool) *meshconfig.MeshConfig {
	defaults := meshDefaults
	if stock {
		defaults = ""
	}
	base, err := mesh.ApplyMeshConfigDefaults(defaults)
	if err != nil {
		fail("mesh defaults: %v", err)
	}
	own, err := os.ReadFile(filepath.Join(dir, meshFile))
	if errors.Is(err, os.ErrNotExist) {
		return base
	}
	if err == nil {
		base, err = mesh.ApplyMeshConfig(string(own), base)
	}
	if err != nil {
		fail("%s: %v", meshFile, err)
	}
	return base
}
