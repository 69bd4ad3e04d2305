// Perplexity as GPTQ (arXiv 2210.17323) and those after it measure it: the whole text is tokenized in one go and cut
// into windows that do not overlap; each is a prompt of its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "model/batch.h"
#include "model/weights.h"
#include "quant/evaluation_pass.h"
#include "text/tokenizer.h"

namespace spikescope {

/// Windows of a text, of `length` tokens each.
struct TextWindows {
  std::string file;             ///< name of the text
  std::string ids_sha256 = {};  ///< of the ids of the whole text, as little-endian int64
  std::optional<int64_t> bos;   ///< that every window begins with; it counts in `length`
  int64_t length = 0;
  int64_t available = 0;            ///< windows that the text has
  std::vector<int64_t> ids = {};    ///< [windows * length], the first windows of the text
  std::vector<int64_t> bytes = {};  ///< [windows] of the text that the predicted tokens spell; see spelled_bytes()

  int64_t count() const { return static_cast<int64_t>(bytes.size()); }
  int64_t predictions() const { return length - 1; }  ///< of each window
};

/// Reads and tokenizes a text and cuts its first `windows` windows (nothing: all). `bos`: as bos_in_front() says.
/// Throws Error for a text that is missing, not UTF-8 or too short, UsageError for a length without a prediction.
TextWindows read_windows(const std::filesystem::path& file, const Tokenizer& tokenizer, std::optional<int64_t> bos,
                         int64_t length, std::optional<int64_t> windows);

/// Windows [first, first + count) as prompts of one pass.
TokenBatch window_batch(const TextWindows& windows, int64_t first, int64_t count);

/// Bytes of text that ids [cuts[i], cuts[i + 1]) spell, for each i: of the decoded text, so that what a tokenizer's
/// normalizer drops does not count. A character that a cut goes through counts where it ends.
std::vector<int64_t> spelled_bytes(const Tokenizer& tokenizer, const std::vector<int64_t>& ids,
                                   const std::vector<int64_t>& cuts);

/// Losses of one window, in nats.
struct WindowLoss {
  double nll = 0.0;        ///< mean over its predictions
  double position0 = 0.0;  ///< of the prediction made at position 0

  /// Mean over the other predictions; NaN where there are none.
  double without_position0(int64_t predictions) const;
};

/// Appends to `losses` those of the windows from losses.size() on. Throws Error as run_model does, and for losses that
/// are not numbers, naming window and position.
void measure_windows(const ModelWeights& weights, const TextWindows& windows, std::vector<WindowLoss>& losses,
                     const EvaluationPass& pass);

/// The keys of `spikescope evaluate` (docs/evaluate.md): nll (mean over all predictions, nats), nll_se (standard error
/// over windows), perplexity = exp(nll), the same without position 0, bits_per_byte. Undefined figures are null.
Json perplexity_json(const TextWindows& windows, const std::vector<WindowLoss>& losses);
/// dnll, dnll_se (paired over windows, this minus reference) and dnll_without_position0, dnll_without_position0_se.
/// `reference` may hold more windows; the first ones count.
Json difference_json(const TextWindows& windows, const std::vector<WindowLoss>& losses,
                     const std::vector<WindowLoss>& reference);

}  // namespace spikescope
