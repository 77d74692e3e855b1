package pull

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// Source is where a checkpoint comes from.
type Source struct {
	// Name is the name it is served under.
	Name string
	// Title is what its makers call it; it may be empty.
	Title string
	// URL is http, https, file, or the path of a file on this machine.
	URL string
	// SHA256 of the file, in lower-case hex; empty if it is not known.
	SHA256 string
}

const (
	easyCV = "http://pai-vision-data-hz.oss-cn-zhangjiakou.aliyuncs.com/EasyCV/modelzoo/classification/edgevit/"
	birder = "https://f000.backblazeb2.com/file/birder/models/"
)

// known are the checkpoints that somebody publishes. EasyCV gives no checksums.
var known = []Source{
	{"easycv-xxs", "EdgeViT-XXS of EasyCV, ImageNet-1k", easyCV + "edgexxs/ClsEvaluator_neck_top1_best.pth", ""},
	{"easycv-xs", "EdgeViT-XS of EasyCV, ImageNet-1k", easyCV + "edgexs/ClsEvaluator_neck_top1_best.pth", ""},
	{"easycv-s", "EdgeViT-S of EasyCV, ImageNet-1k", easyCV + "edges/ClsEvaluator_neck_top1_best.pth", ""},
	{"birder-xxs", "EdgeViT-XXS of birder, il-common birds", birder + "edgevit_xxs_il-common.pt", "b4ae9c4f871bafc47c757b65ee8f7ce2dc427fff55171f4feaafdbb5ba02ff3f"},
	{"birder-xs", "EdgeViT-XS of birder, il-common birds", birder + "edgevit_xs_il-common.pt", "38ab9c6f10586a84c2abaa55919cba56cbd2196ddf771befa09eb71c79d3634c"},
}

// Known lists the published checkpoints. The slice is the caller's.
func Known() []Source { return slices.Clone(known) }

// key stands for a URL in files, as a URL may hold a secret.
func key(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:])
}
