package main

import (
	"fmt"
	"os"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/testing"

	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/kube"
)

// reload makes what is served equal to the folder.
func (s *server) reload() error {
	objects, refused, err := readFolder(s.dir)
	if err != nil {
		return err
	}
	report(refused)
	wanted := map[key]bool{}
	for _, o := range objects {
		wanted[o.key] = true
		if err := s.put(o); err != nil {
			return err
		}
	}
	for k, held := range s.objects {
		// What was not read from the folder stays.
		plaintext := held.istio != nil && reflect.DeepEqual(held, plaintextMesh(k.namespace))
		if !wanted[k] && !plaintext {
			if err := s.delete(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply serves the objects of one more file.
func (s *server) apply(file string) error {
	objects, refused, err := readFile(file)
	if err != nil {
		return err
	}
	report(refused)
	for _, o := range objects {
		if err := s.put(o); err != nil {
			return err
		}
	}
	return nil
}

// put creates the object or replaces the one of its name.
func (s *server) put(o object) error {
	old, exists := s.objects[o.key]
	if exists && same(old, o) {
		return nil
	}
	var err error
	switch {
	case o.istio != nil && exists:
		update := *o.istio
		store := s.discovery.Store()
		if held := store.Get(update.GroupVersionKind, update.Name, update.Namespace); held != nil {
			update.ResourceVersion = held.ResourceVersion
		}
		_, err = store.Update(update)
	case o.istio != nil:
		_, err = s.discovery.Store().Create(*o.istio)
	default:
		var to testing.ObjectTracker
		var resource schema.GroupVersionResource
		if to, resource, err = s.tracker(o.kubernetes); err != nil {
			return err
		}
		// The tracker keeps the object and the informers share it: a copy.
		if held := o.kubernetes.DeepCopyObject(); exists {
			err = to.Update(resource, held, o.key.namespace)
		} else {
			err = to.Create(resource, held, o.key.namespace)
		}
	}
	if err == nil {
		s.objects[o.key] = o
	}
	return err
}

func (s *server) delete(k key) error {
	o, exists := s.objects[k]
	if !exists {
		return fmt.Errorf("no %s %s/%s", k.kind, k.namespace, k.name)
	}
	var err error
	if o.istio != nil {
		err = s.discovery.Store().Delete(o.istio.GroupVersionKind, k.name, k.namespace, nil)
	} else {
		var from testing.ObjectTracker
		var resource schema.GroupVersionResource
		if from, resource, err = s.tracker(o.kubernetes); err == nil {
			err = from.Delete(resource, k.namespace, k.name)
		}
	}
	if err == nil {
		delete(s.objects, k)
	}
	return err
}

// tracker is the fake API server's store for objects of this kind.
func (s *server) tracker(o runtime.Object) (testing.ObjectTracker, schema.GroupVersionResource, error) {
	none := schema.GroupVersionResource{}
	kinds, _, err := kube.IstioScheme.ObjectKinds(o)
	if err != nil {
		return nil, none, err
	}
	kind := config.FromKubernetesGVK(kinds[0])
	resource, known := gvk.ToGVR(kind)
	if !known {
		resource, _ = meta.UnsafeGuessKindToResource(kinds[0])
	}
	if resource.Group == "core" {
		resource.Group = ""
	}
	var client any = s.discovery.KubeClient().Kube()
	if resource.Group == "gateway.networking.k8s.io" {
		client = s.discovery.KubeClient().GatewayAPI()
	}
	holder, ok := client.(interface{ Tracker() testing.ObjectTracker })
	if !ok {
		return nil, none, fmt.Errorf("%s cannot be changed", kind.Kind)
	}
	return holder.Tracker(), resource, nil
}

func same(a, b object) bool {
	if a.istio != nil && b.istio != nil {
		return a.istio.Equals(b.istio)
	}
	return reflect.DeepEqual(a.kubernetes, b.kubernetes)
}

// failer lets Istio's test server run outside of a test.
type failer struct{}

func (*failer) Fail()                             { fail("failed") }
func (*failer) FailNow()                          { fail("failed") }
func (*failer) Fatal(args ...any)                 { fail("%s", fmt.Sprint(args...)) }
func (*failer) Fatalf(format string, args ...any) { fail(format, args...) }
func (*failer) Log(args ...any)                   { fmt.Fprintln(os.Stderr, args...) }
func (*failer) Logf(format string, args ...any)   { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (*failer) Helper()                           {}
func (*failer) Cleanup(func())                    {}
func (*failer) Skip(args ...any)                  { fail("%s", fmt.Sprint(args...)) }
func (*failer) TempDir() string {
	dir, err := os.MkdirTemp("", "istiod")
	if err != nil {
		fail("%v", err)
	}
	return dir
}
