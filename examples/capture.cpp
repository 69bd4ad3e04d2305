// Captures the residual stream after every block of a model and reads it back:  capture MODEL OUT
#include <spikescope/capture/capture.h>
#include <spikescope/capture/prompts.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

int main(int argc, char** argv) try {
  using namespace spikescope;
  if (argc != 3) return std::fprintf(stderr, "usage: capture MODEL OUT\n"), 2;
  const auto checkpoint = Checkpoint::open(argv[1]);
  const Tokenizer tokenizer = checkpoint->tokenizer();
  PromptRequest prompts;
  prompts.texts = {"Summer is warm. Winter is cold.\n"};
  CaptureRequest request;
  request.points = {"blocks.*.resid_post"};
  capture(*checkpoint, read_prompts(prompts, &tokenizer), {.model = checkpoint->path()}, request, argv[2], {});

  const DumpReader dump(argv[2]);
  for (int layer = 0; layer < dump.n_layers(); ++layer) {
    const std::vector<float> h = dump.read({Point::resid_post, layer}, 0, dump.tokens().size());
    const auto spike = std::max_element(h.begin(), h.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
    const auto at = spike - h.begin();
    std::printf("block %2d  largest %10.1f  at token %lld, dimension %lld\n", layer, *spike,
                static_cast<long long>(at / dump.d_model()), static_cast<long long>(at % dump.d_model()));
  }
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}
