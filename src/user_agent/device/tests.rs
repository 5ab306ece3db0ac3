use super::*;

/// `os | brand | model | family | browser | mobile | tablet`, `-` for null.
fn line(user_agent: &str, hints: &ClientHints) -> String {
    let Device { os, browser, brand, model, family, is_mobile, is_tablet } = Device::of(user_agent, hints);
    let or_null = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let flag = |yes: bool| if yes { "t" } else { "f" };
    let (brand, model) = (or_null(brand), or_null(model));
    format!("{os}|{brand}|{model}|{family}|{browser}|{}|{}", flag(is_mobile), flag(is_tablet))
}

fn all_are(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .map(|(agent, expected)| (agent, expected, line(agent, &ClientHints::default())))
        .filter(|(_, expected, found)| *expected != found)
        .map(|(agent, expected, found)| format!("{agent}\n  expected {expected}\n  found    {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_devices_that_the_python_packages_name_are_named_as_they_do() {
    all_are(&[
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
            "Windows|-|-|Other|Chrome|f|f",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Safari/605.1.15",
            "Mac OS X|Apple|Mac|Mac|Safari|f|f",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0", "Linux|-|-|Other|Firefox|f|f"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 \
             Edg/120.0.2210.61",
            "Windows|-|-|Other|Edge|f|f",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 \
             Mobile/15E148 Safari/604.1",
            "iOS|Apple|iPhone|iPhone|Mobile Safari|t|f",
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 \
             Mobile/15E148 Safari/604.1",
            "iOS|Apple|iPad|iPad|Mobile Safari|f|t",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile \
             Safari/537.36",
            "Android|Google|Pixel 8|Pixel 8|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
            "Android|Generic_Android_Tablet|SM-X700|SM-X700|Chrome|f|t",
        ),
        ("curl/8.4.0", "Other|-|-|Other|curl|f|f"),
        ("python-requests/2.31.0", "Other|-|-|Other|Python Requests|f|f"),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Other|Spider|Desktop|Spider|Googlebot|f|f",
        ),
        ("", "Other|-|-|Other|Other|f|f"),
    ]);
}

#[test]
fn browsers_are_told_apart_on_every_desktop() {
    all_are(&[
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
            "Windows|-|-|Other|Firefox|f|f",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 \
             OPR/115.0.0.0",
            "Windows|-|-|Other|Opera|f|f",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36 \
             Vivaldi/6.9.3447.54",
            "Windows|-|-|Other|Vivaldi|f|f",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 \
             YaBrowser/24.10.0.0 Safari/537.36",
            "Windows|-|-|Other|Yandex Browser|f|f",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/64.0.3282.140 \
             Safari/537.36 Edge/18.17763",
            "Windows|-|-|Other|Edge|f|f",
        ),
        ("Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko", "Windows|-|-|Other|IE|f|f"),
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0)", "Windows|-|-|Other|IE|f|f"),
        ("Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18", "Windows|-|-|Other|Opera|f|f"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0",
            "Mac OS X|Apple|Mac|Mac|Firefox|f|f",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
             Safari/537.36",
            "Mac OS X|Apple|Mac|Mac|Chrome|f|f",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
             Safari/537.36 Edg/130.0.0.0",
            "Mac OS X|Apple|Mac|Mac|Edge|f|f",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 \
             Safari/605.1.15 Ddg/17.4",
            "Mac OS X|Apple|Mac|Mac|DuckDuckGo|f|f",
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
            "Ubuntu|-|-|Other|Firefox|f|f",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
            "Linux|-|-|Other|Chrome|f|f",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 \
             OPR/115.0.0.0",
            "Linux|-|-|Other|Opera|f|f",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Safari/605.1.15 \
             Epiphany/605.1.15",
            "Linux|-|-|Other|Epiphany|f|f",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/130.0.0.0 Safari/537.36",
            "Linux|-|-|Other|HeadlessChrome|f|f",
        ),
        (
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
            "Chrome OS|-|-|Other|Chrome|f|f",
        ),
        ("Mozilla/5.0 (X11; FreeBSD amd64; rv:132.0) Gecko/20100101 Firefox/132.0", "FreeBSD|-|-|Other|Firefox|f|f"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Slack/4.41.98 \
             Chrome/130.0.6723.59 Electron/33.0.2 Safari/537.36",
            "Windows|-|-|Other|Slack Desktop Client|f|f",
        ),
    ]);
}

#[test]
fn telephones_and_tablets_are_told_with_their_makers() {
    all_are(&[
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
            "Android|Generic_Android|K|K|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
            "Android|Generic_Android_Tablet|K|K|Chrome|f|t",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 \
             Chrome/122.0.0.0 Mobile Safari/537.36",
            "Android|Samsung|SM-S918B|Samsung SM-S918B|Samsung Internet|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; SAMSUNG SM-T865 Build/PPR1.180610.011) AppleWebKit/537.36 (KHTML, like Gecko) \
             SamsungBrowser/14.2 Chrome/87.0.4280.141 Safari/537.36",
            "Android|Samsung|SM-T865|Samsung SM-T865|Samsung Internet|f|t",
        ),
        (
            "Mozilla/5.0 (Linux; U; Android 4.0.4; en-gb; GT-I9300 Build/IMM76D) AppleWebKit/534.30 (KHTML, like Gecko) \
             Version/4.0 Mobile Safari/534.30",
            "Android|Samsung|GT-I9300|Samsung GT-I9300|Android|t|f",
        ),
        (
            "Mozilla/5.0 (Android 14; Mobile; rv:132.0) Gecko/132.0 Firefox/132.0",
            "Android|Generic|Smartphone|Generic Smartphone|Firefox Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Android 13; Tablet; rv:132.0) Gecko/132.0 Firefox/132.0",
            "Android|Generic|Tablet|Generic Tablet|Firefox Mobile|f|t",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; Redmi Note 12 Build/TKQ1.221114.001) AppleWebKit/537.36 (KHTML, like Gecko) \
             Version/4.0 Chrome/112.0.5615.136 Mobile Safari/537.36 XiaoMi/MiuiBrowser/14.4.0-g",
            "Android|Xiaomi|Redmi Note 12|Xiaomi Redmi Note 12|MiuiBrowser|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 12; 2201116SG) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile \
             Safari/537.36 EdgA/130.0.0.0",
            "Android|Xiaomi|2201116SG|Xiaomi 2201116SG|Edge Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; CPH2449) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile \
             Safari/537.36 OPR/86.0.0.0",
            "Android|OPPO|CPH2449|OPPO CPH2449|Opera Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 11; ONEPLUS A6003) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/110.0.0.0 Mobile \
             Safari/537.36",
            "Android|OnePlus|A6003|OnePlus A6003|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; VOG-L29) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/88.0.4324.93 \
             HuaweiBrowser/11.1.1.310 Mobile Safari/537.36",
            "Android|Huawei|VOG-L29|Huawei VOG-L29|Huawei Browser|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 12; moto g power (2022)) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
             Mobile Safari/537.36",
            "Android|Motorola|moto g power (2022)|Motorola moto g power (2022)|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; XQ-CT54) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile \
             Safari/537.36",
            "Android|Sony|XQ-CT54|Sony XQ-CT54|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; G8341) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0.4844.88 Mobile \
             Safari/537.36",
            "Android|Sony|G8341|Sony G8341|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; LM-Q720) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile \
             Safari/537.36",
            "Android|LG|LM-Q720|LG LM-Q720|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 11; Nokia 5.3) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile \
             Safari/537.36",
            "Android|Nokia|5.3|Nokia 5.3|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 8.0.0; HTC U11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.91 Mobile \
             Safari/537.36",
            "Android|HTC|U11|HTC U11|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; ASUS_AI2202) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile \
             Safari/537.36",
            "Android|Asus|AI2202|Asus AI2202|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 13; RMX3511) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile \
             Safari/537.36",
            "Android|Realme|RMX3511|Realme RMX3511|Chrome Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 12; V2050) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile \
             Safari/537.36 VivoBrowser/12.3.0.0",
            "Android|vivo|V2050|vivo V2050|Vivo Browser|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; Lenovo TB-X606F) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 \
             Safari/537.36",
            "Android|Lenovo|TB-X606F|Lenovo TB-X606F|Chrome|f|t",
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/120.4.1 like \
             Chrome/120.0.6099.230 Safari/537.36",
            "Android|Amazon|KFMAWI|Amazon KFMAWI|Amazon Silk|f|t",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UD1A.230803.041; wv) AppleWebKit/537.36 (KHTML, like Gecko) \
             Version/4.0 Chrome/119.0.6045.66 Mobile Safari/537.36",
            "Android|Google|Pixel 8|Pixel 8|Chrome Mobile WebView|t|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel Tablet) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
             Safari/537.36",
            "Android|Google|Pixel Tablet|Pixel Tablet|Chrome|f|t",
        ),
        (
            "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; en) Presto/2.12.423 Version/12.16",
            "Android|Generic|Smartphone|Generic Smartphone|Opera Mini|t|f",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             CriOS/126.0.6478.35 Mobile/15E148 Safari/604.1",
            "iOS|Apple|iPhone|iPhone|Chrome Mobile iOS|t|f",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/132.0 \
             Mobile/15E148 Safari/605.1.15",
            "iOS|Apple|iPhone|iPhone|Firefox iOS|t|f",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 \
             EdgiOS/130.0.2849.68 Mobile/15E148 Safari/605.1.15",
            "iOS|Apple|iPhone|iPhone|Edge Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (iPod touch; CPU iPhone OS 12_5_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
             Version/12.1.2 Mobile/15E148 Safari/604.1",
            "iOS|Apple|iPod|iPod|Mobile Safari|t|f",
        ),
        (
            "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15254",
            "Windows Phone|Microsoft|Lumia 950|Lumia 950|Edge Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (Mobile; Nokia_8110_4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
            "KaiOS|Nokia|8110_4G|Nokia 8110_4G|Firefox Mobile|t|f",
        ),
        (
            "Mozilla/5.0 (BB10; Touch) AppleWebKit/537.35+ (KHTML, like Gecko) Version/10.3.3.3216 Mobile Safari/537.35+",
            "BlackBerry OS|BlackBerry|-|Other|Safari|t|f",
        ),
    ]);
}

#[test]
fn an_ipad_that_asks_for_desktop_pages_is_known_by_every_browser_but_safari() {
    let mac = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";
    all_are(&[
        // Safari says the same on both, byte for byte.
        (&format!("{mac} Version/17.5 Safari/605.1.15"), "Mac OS X|Apple|Mac|Mac|Safari|f|f"),
        (&format!("{mac} CriOS/130 Version/11.1.1 Safari/605.1.15"), "iOS|Apple|iPad|iPad|Chrome Mobile iOS|f|t"),
        (&format!("{mac} FxiOS/132.0 Safari/605.1.15"), "iOS|Apple|iPad|iPad|Firefox iOS|f|t"),
        (&format!("{mac} Mobile/15E148"), "iOS|Apple|iPad|iPad|Mobile Safari UI/WKWebView|f|t"),
    ]);
}

#[test]
fn a_program_that_shows_pages_is_named_rather_than_the_browser_inside_of_it() {
    let iphone =
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148";
    let pixel = "Mozilla/5.0 (Linux; Android 14; Pixel 7 Build/AP1A.240505.004; wv) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Version/4.0 Chrome/124.0.6367.113 Mobile Safari/537.36";
    let on_iphone = |name: &str| format!("iOS|Apple|iPhone|iPhone|{name}|t|f");
    let on_pixel = |name: &str| format!("Android|Google|Pixel 7|Pixel 7|{name}|t|f");
    all_are(&[
        (iphone, &on_iphone("Mobile Safari UI/WKWebView")),
        (&format!("{iphone} [FBAN/FBIOS;FBAV/463.0.0.30.108;FBDV/iPhone15,2;FBMD/iPhone]"), &on_iphone("Facebook")),
        (&format!("{iphone} [FBAN/MessengerForiOS;FBAV/455.0.0;FBDV/iPhone14,5]"), &on_iphone("Facebook Messenger")),
        (
            &format!("{iphone} Instagram 330.0.3.29.91 (iPhone15,2; iOS 17_5; en_US; scale=3.00)"),
            &on_iphone("Instagram"),
        ),
        (&format!("{iphone} MicroMessenger/8.0.49(0x18003127) NetType/WIFI Language/en"), &on_iphone("WeChat")),
        (&format!("{iphone} Safari/604.1 GSA/317.0.634488990"), &on_iphone("Google")),
        (&format!("{pixel} [FB_IAB/FB4A;FBAV/463.0.0.55.84;]"), &on_pixel("Facebook")),
        (
            &format!("{pixel} Instagram 331.0.0.37.90 Android (34/14; 420dpi; 1080x2205; Google; Pixel 7)"),
            &on_pixel("Instagram"),
        ),
        (&format!("{pixel} Line/14.7.0/IAB"), &on_pixel("Line")),
    ]);
}

#[test]
fn a_program_without_pages_is_named_by_its_first_word() {
    all_are(&[
        ("okhttp/4.12.0", "Other|-|-|Other|okhttp|f|f"),
        ("Go-http-client/1.1", "Other|-|-|Other|Go-http-client|f|f"),
        ("Dart/3.5 (dart:io)", "Other|-|-|Other|Dart|f|f"),
        ("PostmanRuntime/7.42.0", "Other|-|-|Other|PostmanRuntime|f|f"),
        ("Java/17.0.9", "Other|-|-|Other|Java|f|f"),
        ("Apache-HttpClient/4.5.14 (Java/17.0.9)", "Other|-|-|Other|Apache-HttpClient|f|f"),
        ("axios/1.7.7", "Other|-|-|Other|axios|f|f"),
        ("Wget/1.21.3", "Other|-|-|Other|Wget|f|f"),
        ("Python-urllib/3.12", "Other|-|-|Other|Python-urllib|f|f"),
        ("acme-sync/2.1 (Linux x86_64) libfoo/3", "Linux|-|-|Other|acme-sync|f|f"),
        ("Acme/5.2 (com.acme.app; build:1; iOS 17.5.1) Alamofire/5.9.1", "iOS|Apple|-|Other|Acme|f|f"),
        ("Acme/112 CFNetwork/1498.700.2 Darwin/23.6.0", "iOS|Apple|-|Other|Acme|f|f"),
        (
            "Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ3A.230901.001)",
            "Android|Google|Pixel 7|Pixel 7|Android|t|f",
        ),
        (
            "Dalvik/2.1.0 (Linux; U; Android 13; SM-X700 Build/TP1A.220624.014)",
            "Android|Samsung|SM-X700|Samsung SM-X700|Android|f|t",
        ),
    ]);
}

#[test]
fn a_bot_is_a_spider_whatever_it_pretends_to_be() {
    let desktop = |name: &str| format!("Other|Spider|Desktop|Spider|{name}|f|f");
    all_are(&[
        (
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/130.0.6723.69 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Android|Spider|Smartphone|Spider|Googlebot|t|f",
        ),
        ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", &desktop("bingbot")),
        ("Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)", &desktop("YandexBot")),
        ("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", &desktop("AhrefsBot")),
        (
            "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
            &desktop("Baiduspider"),
        ),
        ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", &desktop("facebookexternalhit")),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", &desktop("Slackbot-LinkExpanding")),
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            &desktop("GPTBot"),
        ),
        ("Twitterbot/1.0", &desktop("Twitterbot")),
        // A telephone by a maker with an unfortunate name.
        (
            "Mozilla/5.0 (Linux; Android 10; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile \
             Safari/537.36",
            "Android|Cubot|NOTE 20|Cubot NOTE 20|Chrome Mobile|t|f",
        ),
    ]);
}

#[test]
fn consoles_and_televisions_are_neither_telephones_nor_tablets() {
    all_are(&[
        (
            "Mozilla/5.0 (PlayStation; PlayStation 5/6.50) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15",
            "PlayStation|Sony|PlayStation 5|PlayStation 5|Safari|f|f",
        ),
        (
            "Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/609.4 (KHTML, like Gecko) NF/6.0.3.25.0 \
             NintendoBrowser/5.1.0.32061",
            "Nintendo|Nintendo|Nintendo Switch|Nintendo Switch|Nintendo Browser|f|f",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/58.0.3029.110 Safari/537.36 Edge/16.16299",
            "Windows|Microsoft|Xbox One|Xbox One|Edge|f|f",
        ),
        (
            "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/4.0 \
             Chrome/76.0.3809.146 TV Safari/537.36",
            "Tizen|Samsung|Smart TV|Smart TV|Samsung Internet|f|f",
        ),
        (
            "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.128 Safari/537.36 \
             WebAppManager",
            "webOS|LG|Smart TV|Smart TV|Chrome|f|f",
        ),
        (
            "Mozilla/5.0 (Linux; Android 9; AFTT Build/PS7233) AppleWebKit/537.36 (KHTML, like Gecko) Silk/120.4.1 like \
             Chrome/120.0.6099.230 Safari/537.36",
            "Android|Amazon|AFTT|Amazon AFTT|Amazon Silk|f|f",
        ),
        ("AppleTV11,1/11.1", "tvOS|Apple|AppleTV|AppleTV|AppleTV11,1|f|f"),
        (
            "Mozilla/5.0 (Linux; U; en-US) AppleWebKit/528.5+ (KHTML, like Gecko, Safari/528.5+) Version/4.0 Kindle/3.0 \
             (screen 600x800; rotate)",
            "Linux|Amazon|Kindle|Kindle|Kindle|f|t",
        ),
    ]);
}

mod with_hints {
    use super::*;

    const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 \
                           Safari/537.36";
    const ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36";
    const ANDROID_TABLET: &str =
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";

    fn hints(brands: &[&str], platform: &str, mobile: bool, model: &str) -> ClientHints {
        ClientHints {
            brands: brands.iter().map(|brand| (*brand).to_owned()).collect(),
            mobile: Some(mobile),
            platform: Some(platform.to_owned()),
            model: (!model.is_empty()).then(|| model.to_owned()),
        }
    }

    #[test]
    fn the_model_takes_the_place_of_the_letter_that_says_nothing() {
        let told = hints(&["Chromium", "Google Chrome"], "Android", true, "Pixel 8");
        assert_eq!(line(ANDROID, &told), "Android|Google|Pixel 8|Pixel 8|Chrome Mobile|t|f");
        let told = hints(&["Chromium", "Google Chrome"], "Android", false, "SM-X700");
        assert_eq!(line(ANDROID_TABLET, &told), "Android|Samsung|SM-X700|Samsung SM-X700|Chrome|f|t");
        let told = hints(&["Chromium", "Google Chrome"], "Android", true, "Unheard of");
        assert_eq!(line(ANDROID, &told), "Android|Generic_Android|Unheard of|Unheard of|Chrome Mobile|t|f");
    }

    #[test]
    fn a_browser_that_hides_behind_chromes_header_is_named() {
        for (brand, browser) in
            [("Brave", "Brave"), ("Vivaldi", "Vivaldi"), ("Opera", "Opera"), ("Microsoft Edge", "Edge")]
        {
            let told = hints(&["Chromium", brand], "Windows", false, "");
            assert_eq!(line(WINDOWS, &told), format!("Windows|-|-|Other|{browser}|f|f"));
        }
        let told = hints(&["Brave", "Chromium"], "Android", true, "");
        assert_eq!(line(ANDROID, &told), "Android|Generic_Android|K|K|Brave|t|f");
    }

    #[test]
    fn a_header_that_says_more_is_believed() {
        let told = hints(&["Chromium", "Android WebView"], "Android", true, "");
        let facebook = format!("{ANDROID} [FB_IAB/FB4A;FBAV/463.0.0.55.84;]");
        assert_eq!(line(&facebook, &told), "Android|Generic_Android|K|K|Facebook|t|f");
        let told = hints(&["Chromium"], "Linux", false, "");
        let ubuntu =
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130 Safari/537.36";
        assert_eq!(line(ubuntu, &told), "Ubuntu|-|-|Other|Chrome|f|f");
    }

    #[test]
    fn a_telephone_that_asks_for_desktop_pages_is_found_by_its_platform() {
        let desktop =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
        let told = hints(&["Chromium", "Google Chrome"], "Android", true, "Pixel 8");
        assert_eq!(line(desktop, &told), "Android|Google|Pixel 8|Pixel 8|Chrome|t|f");
    }

    #[test]
    fn hints_alone_are_enough_and_a_bot_stays_one() {
        let told = hints(&["Chromium", "Google Chrome"], "Windows", false, "");
        assert_eq!(line("", &told), "Windows|-|-|Other|Chrome|f|f");
        assert_eq!(line("Googlebot/2.1", &told), "Windows|Spider|Desktop|Spider|Googlebot|f|f");
    }
}

#[test]
fn whatever_a_stranger_sends_is_read_to_the_end_and_shown_in_short() {
    let pieces = [
        "(",
        ")",
        ";",
        "/",
        " ",
        "Mozilla/5.0 ",
        "Android",
        "Android 10; ",
        "Build/",
        "[FBAN/",
        "iPhone",
        "Chrome/1 Mobile Safari/",
        "Windows Phone; ",
        "CrOS",
        "ä",
        "\u{fffd}",
        "\0",
        "\r\n",
        "bot",
        "-",
        "Opera Mini/",
        "Macintosh; ",
        "TV;",
        "Tizen SAMSUNG ",
        "KAIOS/",
    ];
    // A walk that is the same at every run.
    let mut state = 0x9e37_79b9_u32;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        usize::try_from(state).unwrap() % below
    };
    let mut odd: Vec<String> = (0..2000).map(|_| (0..next(40)).map(|_| pieces[next(pieces.len())]).collect()).collect();
    odd.extend(pieces.iter().map(|piece| piece.repeat(16 * 1024 / piece.len())));
    odd.push(format!("Mozilla/5.0 (Linux; Android 10; {})", "x".repeat(16 * 1024)));
    odd.push(String::from_utf8_lossy(&[0xff; 16 * 1024]).into_owned());
    let said = ClientHints { model: Some("\0".repeat(500)), ..ClientHints::default() };
    for agent in &odd {
        for hints in [&ClientHints::default(), &said] {
            let device = Device::of(agent, hints);
            let texts = [
                Some(&device.os),
                Some(&device.browser),
                device.brand.as_ref(),
                device.model.as_ref(),
                Some(&device.family),
            ];
            for text in texts.into_iter().flatten() {
                assert!(text.chars().count() <= LONGEST_NAME && !text.is_empty(), "{agent:?}: {device:?}");
                assert!(!text.chars().any(char::is_control), "{agent:?}: {device:?}");
            }
            assert!(!(device.is_mobile && device.is_tablet), "{agent:?}");
        }
    }
}

#[test]
fn a_stored_device_reads_back_and_one_of_another_release_as_far_as_it_goes() {
    let device =
        Device::of("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/120 Mobile Safari/537.36", &ClientHints::default());
    let stored = serde_json::to_value(&device).unwrap();
    assert_eq!(serde_json::from_value::<Device>(stored).unwrap(), device);
    let other = serde_json::json!({"os": "Android", "brand": null, "colour": "blue"});
    let expected = Device { os: "Android".to_owned(), ..Device::default() };
    assert_eq!(serde_json::from_value::<Device>(other).unwrap(), expected);
}
