// Bento with the components that the configurations need, and no others: built in a minute instead of ten.
package main

import (
	"context"

	_ "github.com/warpstreamlabs/bento/public/components/io"
	_ "github.com/warpstreamlabs/bento/public/components/kafka"
	_ "github.com/warpstreamlabs/bento/public/components/pure"
	_ "github.com/warpstreamlabs/bento/public/components/sql/base"
	"github.com/warpstreamlabs/bento/public/service"
	_ "modernc.org/sqlite"
)

func main() {
	service.RunCLI(context.Background())
}
