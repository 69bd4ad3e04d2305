#include "quant/perplexity.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "analyses/labels.h"
#include "base/fail.h"
#include "capture/corpus.h"
#include "io/sha256.h"
#include "model/runner.h"
#include "quant/batch_progress.h"
#include "quant/prefix.h"
#include "stats/moments.h"

namespace spikescope {
namespace {

static_assert(std::endian::native == std::endian::little, "hashes of ids are those of little-endian int64");

WindowLoss loss_of(std::span<const float> losses, int64_t window) {
  double sum = 0.0;
  for (size_t position = 0; position < losses.size(); ++position) {
    if (!std::isfinite(losses[position]))
      fail("window {}: the loss of the prediction at position {} is {}: the logits overflow float32", window, position,
           losses[position]);
    sum += losses[position];
  }
  return {sum / static_cast<double>(losses.size()), losses[0]};
}

/// Mean and standard error over windows, which all have as many predictions.
template <class Value>
Moments over_windows(size_t windows, const Value& value) {
  Moments moments;
  for (size_t window = 0; window < windows; ++window) moments.add(value(window));
  return moments;
}

}  // namespace

TokenBatch window_batch(const TextWindows& windows, int64_t first, int64_t count) {
  TokenBatch batch;
  const auto begin = windows.ids.begin() + first * windows.length;
  batch.ids.assign(begin, begin + count * windows.length);
  for (int64_t i = 0; i <= count; ++i) batch.offsets.push_back(i * windows.length);
  return batch;
}

std::vector<int64_t> spelled_bytes(const Tokenizer& tokenizer, const std::vector<int64_t>& ids,
                                   const std::vector<int64_t>& cuts) {
  // Decoders treat a text's first token differently (a space before it may go), so a part from within the text is
  // decoded behind the first token of all.
  const auto decoded = [&](int64_t begin, int64_t end) {
    std::vector<int64_t> part(ids.begin() + begin, ids.begin() + end);
    if (begin > 0) part.insert(part.begin(), ids[0]);
    return tokenizer.decode(part);
  };
  const auto first_token = static_cast<int64_t>(decoded(0, 1).size());
  std::vector<int64_t> places;           // in bytes, of the cuts
  int64_t anchor = 0, anchor_place = 0;  // the last cut between two characters
  for (const int64_t cut : cuts) {
    std::string text = decoded(anchor, cut);
    constexpr std::string_view kCut = "\ufffd";
    const bool within = text.ends_with(kCut);
    while (text.ends_with(kCut)) text.resize(text.size() - kCut.size());
    places.push_back(anchor_place + static_cast<int64_t>(text.size()) - (anchor > 0 ? first_token : 0));
    if (!within) anchor = cut, anchor_place = places.back();
  }
  std::vector<int64_t> spelled;
  for (size_t i = 1; i < places.size(); ++i) spelled.push_back(places[i] - places[i - 1]);
  return spelled;
}

TextWindows read_windows(const std::filesystem::path& file, const Tokenizer& tokenizer, std::optional<int64_t> bos,
                         int64_t length, std::optional<int64_t> count) {
  if (length < 2) fail_usage("--length is {}; expected 2 or more: a window of one token predicts nothing", length);
  if (count && *count < 1) fail_usage("--windows is {}; expected 1 or more", *count);
  const std::vector<int64_t> ids = read_corpus(file, tokenizer);
  const int64_t step = length - (bos ? 1 : 0), n = static_cast<int64_t>(ids.size());
  TextWindows windows{.file = file.filename().string(), .bos = bos, .length = length, .available = n / step};
  if (windows.available < count.value_or(1))
    fail("{}: its {} tokens make {} windows of {}; {} (lower --length{})", file.string(), n, windows.available, length,
         count ? fmt::format("{} were asked for", *count) : "at least one is needed",
         count.value_or(1) > 1 ? " or --windows" : "");

  Sha256 hash;
  hash.update(std::as_bytes(std::span(ids)));
  windows.ids_sha256 = hash.hex();
  std::vector<int64_t> cuts;  // before and after the predicted tokens of each window
  for (int64_t window = 0; window < count.value_or(windows.available); ++window) {
    const int64_t begin = window * step;
    if (bos) windows.ids.push_back(*bos);
    windows.ids.insert(windows.ids.end(), ids.begin() + begin, ids.begin() + begin + step);
    cuts.push_back(begin + (bos ? 0 : 1));
    cuts.push_back(begin + step);
  }
  const std::vector<int64_t> spelled = spelled_bytes(tokenizer, ids, cuts);
  for (size_t i = 0; i < spelled.size(); i += 2) windows.bytes.push_back(spelled[i]);
  return windows;
}

double WindowLoss::without_position0(int64_t predictions) const {
  if (predictions < 2) return std::numeric_limits<double>::quiet_NaN();
  const auto n = static_cast<double>(predictions);
  return (nll * n - position0) / (n - 1);
}

void measure_windows(const ModelWeights& weights, const TextWindows& windows, std::vector<WindowLoss>& losses,
                     const EvaluationPass& pass) {
  const auto begin = static_cast<int64_t>(losses.size()), count = windows.count();
  const int64_t at_once =
      std::max<int64_t>(1, pass.batch_tokens / (windows.length + static_cast<int64_t>(pass.prefix.size())));
  for (int64_t first = begin; first < count; first += at_once) {
    const int64_t here = std::min(at_once, count - first);
    const TokenBatch batch = with_prefix(window_batch(windows, first, here), pass.prefix);
    Hooks hooks;
    if (pass.attach) pass.attach(hooks, batch);
    const auto share = [&](int64_t some) { return static_cast<double>(some) / static_cast<double>(count - begin); };
    BatchProgress observer(pass, share(first - begin), share(here));
    const std::vector<float> all =
        unmarked(run_model(weights, batch, hooks, observer, {.losses = true, .int8 = pass.int8}).losses,
                 prefix_rows(batch, pass.prefix.size()));
    for (int64_t i = 0; i < here; ++i)
      losses.push_back(loss_of(
          std::span(all).subspan(static_cast<size_t>(i * windows.length), static_cast<size_t>(windows.predictions())),
          first + i));
    if (pass.kept) pass.kept();
  }
}

Json perplexity_json(const TextWindows& windows, const std::vector<WindowLoss>& losses) {
  const int64_t predictions = windows.predictions();
  const Moments nll = over_windows(losses.size(), [&](size_t w) { return losses[w].nll; });
  const Moments rest = over_windows(losses.size(), [&](size_t w) { return losses[w].without_position0(predictions); });
  const Moments position0 = over_windows(losses.size(), [&](size_t w) { return losses[w].position0; });
  const int64_t bytes =
      std::accumulate(windows.bytes.begin(), windows.bytes.begin() + static_cast<int64_t>(losses.size()), int64_t{0});
  const double bits = nll.mean() * static_cast<double>(predictions) * static_cast<double>(losses.size()) / std::log(2);
  return {{"perplexity", number_or_null(std::exp(nll.mean()))},
          {"perplexity_se", number_or_null(std::exp(nll.mean()) * nll.standard_error())},
          {"nll", number_or_null(nll.mean())},
          {"nll_se", number_or_null(nll.standard_error())},
          {"perplexity_without_position0", number_or_null(std::exp(rest.mean()))},
          {"nll_without_position0", number_or_null(rest.mean())},
          {"nll_position0", number_or_null(position0.mean())},
          {"bits_per_byte", number_or_null(bits / static_cast<double>(bytes))},
          {"bytes", bytes}};
}

Json difference_json(const TextWindows& windows, const std::vector<WindowLoss>& losses,
                     const std::vector<WindowLoss>& reference) {
  const int64_t predictions = windows.predictions();
  const Moments all = over_windows(losses.size(), [&](size_t w) { return losses[w].nll - reference[w].nll; });
  const Moments rest = over_windows(losses.size(), [&](size_t w) {
    return losses[w].without_position0(predictions) - reference[w].without_position0(predictions);
  });
  return {{"dnll", number_or_null(all.mean())},
          {"dnll_se", number_or_null(all.standard_error())},
          {"dnll_without_position0", number_or_null(rest.mean())},
          {"dnll_without_position0_se", number_or_null(rest.standard_error())}};
}

}  // namespace spikescope
