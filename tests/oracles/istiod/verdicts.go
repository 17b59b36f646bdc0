package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	kubeyaml "k8s.io/apimachinery/pkg/util/yaml"

	"istio.io/istio/pilot/pkg/config/kube/crd"
)

// verdict is what Istio says of one document of a file. Documents are counted
// from 1, as the reader of Kubernetes splits the file.
type verdict struct {
	File     string `json:"file"`
	Document int    `json:"document"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"`
	Text     string `json:"text"`
}

// printVerdicts reads names of files, one per line, and writes a JSON line for
// every document of a kind of Istio.
func printVerdicts(from io.Reader, to io.Writer) {
	out := bufio.NewWriter(to)
	defer out.Flush()
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		text, err := os.ReadFile(lines.Text())
		if err != nil {
			fail("%v", err)
		}
		reader := kubeyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
		for at := 1; ; at++ {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				fail("%s: %v", lines.Text(), err)
			}
			if v, is := judge(string(document)); is {
				v.File, v.Document = lines.Text(), at
				line, err := json.Marshal(v)
				if err != nil {
					fail("%v", err)
				}
				fmt.Fprintln(out, string(line))
			}
		}
	}
}

// judge is false for a document that is not of Istio.
func judge(document string) (v verdict, is bool) {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if kubeyaml.Unmarshal([]byte(document), &head) != nil {
		// Its kind may be legible even so.
		if !strings.Contains(document, "istio.io/") {
			return v, false
		}
	} else if group, _, _ := strings.Cut(head.APIVersion, "/"); !strings.HasSuffix(group, "istio.io") {
		return v, false
	}
	v = verdict{Kind: head.Kind, Name: head.Metadata.Name, Text: document}
	defer func() {
		if panicked := recover(); panicked != nil {
			v.Accepted, v.Reason = false, fmt.Sprintf("panic: %v", panicked)
		}
	}()
	configs, _, err := crd.ParseInputs(document)
	if err != nil && head.Metadata.Namespace == "" {
		// The API server gives it one before the webhook sees it.
		if named, is := withNamespace(document); is {
			configs, _, err = crd.ParseInputs(named)
		}
	}
	v.Accepted = err == nil && len(configs) > 0
	if err != nil {
		v.Reason = strings.ReplaceAll(err.Error(), "\n", " ")
	} else if len(configs) == 0 {
		v.Reason = "unknown kind"
	}
	return v, true
}

func withNamespace(document string) (string, bool) {
	var object map[string]any
	if kubeyaml.Unmarshal([]byte(document), &object) != nil {
		return "", false
	}
	metadata, is := object["metadata"].(map[string]any)
	if given := metadata["namespace"]; !is || given != nil && given != "" {
		return "", false
	}
	metadata["namespace"] = "default"
	named, err := json.Marshal(object)
	return string(named), err == nil
}
