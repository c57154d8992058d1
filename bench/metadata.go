package main

import (
	"fmt"
	"math"
)

// object is metadata of the shape that the scanner writes.
type object = map[string]any

func scanMetadata(id string) object { return plantMetadata(id, 0) }

// plantMetadata is that of the n-th of many plants: of seven species, sixty
// ages, and a thousand names.
func plantMetadata(id string, n int) object {
	species := []string{
		"Arabidopsis thaliana", "Solanum lycopersicum", "Zea mays", "Oryza sativa", "Nicotiana benthamiana", "Medicago truncatula", "Brassica napus",
	}
	return object{"object": object{
		"DAG": n % 60, "dataset_id": id, "environment": "Lyon indoor", "experiment_id": "bench", "growth_conditions": "LD+SD",
		"growth_environment": "Lyon indoor", "plant_id": fmt.Sprintf("plant_%d", n%1000), "sample": "main stem", "seed_stock": "Col-0",
		"species": species[n%len(species)], "treatment": "None",
	}}
}

func imagesMetadata() object {
	return object{
		"acquisition_date": "2023-12-15 16:37:15", "channels": []string{"rgb"},
		"hardware":  object{"camera_hardware": "RX0", "cnc_hardware": "X-Carve", "gimbal_hardware": "blgimbal"},
		"workspace": object{"x": []int{340, 440}, "y": []int{330, 410}, "z": []int{-180, 105}},
	}
}

// shotMetadata is that of the n-th image of a turn around the plant.
func shotMetadata(n, of int) object {
	angle := 2 * math.Pi * float64(n%of) / float64(of)
	pose := []float64{390 + 350*math.Cos(angle), 370 + 350*math.Sin(angle), 25, 360 * float64(n%of) / float64(of), 0}
	return object{"approximate_pose": pose, "channel": "rgb", "pose": pose, "shot_id": photoID(n)}
}
