// Command client asks a service what is in a photograph:
//
//	go run ./examples/client ADDRESS PHOTO [MODEL]
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"edgevit/api"
	"edgevit/client"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client ADDRESS PHOTO [MODEL]")
		os.Exit(2)
	}
	model := ""
	if len(os.Args) > 3 {
		model = os.Args[3]
	}
	if err := classify(os.Args[1], os.Args[2], model); err != nil {
		fmt.Fprintln(os.Stderr, err) // of a refusal: why, and the request's id
		os.Exit(1)
	}
}

func classify(address, photo, model string) error {
	c, err := client.New(address)
	if err != nil {
		return err
	}
	file, err := os.Open(photo)
	if err != nil {
		return err
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	params := &api.ClassifyParams{TopK: new(3)}
	if model != "" {
		params.Model = &model
	}
	answer, err := c.ClassifyWithBodyWithResponse(ctx, params, "application/octet-stream", file)
	if err != nil {
		return err
	}
	for _, p := range answer.JSON200.Predictions {
		fmt.Printf("%-10s %.1f%%\n", p.Label, 100*p.Probability)
	}
	return nil
}
