#include "text/graphemes.h"

#include <unicode/brkiter.h>
#include <unicode/utext.h>

#include <memory>

#include "base/fail.h"

namespace spikescope {
namespace {

// ICU's iterator, which is slow to make and to move.
class Clusters {
 public:
  template <class Visit>
  void each(std::string_view text, const Visit& visit) {
    UErrorCode status = U_ZERO_ERROR;
    if (!iterator_) iterator_.reset(icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), status));
    UText view = UTEXT_INITIALIZER;
    utext_openUTF8(&view, text.data(), static_cast<int64_t>(text.size()), &status);
    const std::unique_ptr<UText, UText* (*)(UText*)> closer(&view, utext_close);
    if (U_SUCCESS(status)) iterator_->setText(&view, status);
    if (U_FAILURE(status)) fail("Unicode segmentation failed: {}; is ICU's data installed?", u_errorName(status));
    int32_t begin = iterator_->first();
    for (int32_t end; (end = iterator_->next()) != icu::BreakIterator::DONE; begin = end) {
      visit(text.substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    }
  }

 private:
  std::unique_ptr<icu::BreakIterator> iterator_;
};

}  // namespace

void for_each_grapheme(std::string_view text, const std::function<void(std::string_view)>& visit) {
  Clusters clusters;
  const auto is_ascii = [&](size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
  for (size_t begin = 0; begin < text.size();) {
    // Between two ASCII characters there is always a boundary, except in \r\n; ICU sees what lies between two of these.
    size_t end = begin + 1;
    while (end < text.size() &&
           !(is_ascii(end - 1) && is_ascii(end) && !(text[end - 1] == '\r' && text[end] == '\n'))) {
      ++end;
    }
    const std::string_view part = text.substr(begin, end - begin);
    if (part.size() == 1) {
      visit(part);
    } else {
      clusters.each(part, visit);
    }
    begin = end;
  }
}

}  // namespace spikescope
